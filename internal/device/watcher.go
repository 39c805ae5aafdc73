package device

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"tracer/internal/netdev"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

const (
	// debounce is how long changes are gathered before the state is read anew: a pod's set-up is a dozen of them.
	debounce = 75 * time.Millisecond
	// retryAfter is the pause after a failed read.
	retryAfter = time.Second
	// receiveBuffer holds unread messages, in bytes. When it overflows (ENOBUFS) everything is read anew.
	receiveBuffer = 1 << 20
)

// Options are what a Watcher needs besides the kernel. The zero Options are good.
type Options struct {
	Now func() time.Time // for Device.Changed; time.Now if nil
	Log *slog.Logger     // told when the kernel cannot be read for a while; slog.Default() if nil
}

// Watcher keeps the state of one network namespace current. Its methods may be called from any goroutine.
type Watcher struct {
	options Options
	source  *source
	socket  *nl.NetlinkSocket // joined to rtnetlink's multicast groups

	mu    sync.Mutex
	state State
	found chan struct{} // by Refresh: what Run has not published

	events events
}

// NewWatcher starts to listen in the calling thread's network namespace and reads its state. The caller closes it.
func NewWatcher(options Options) (*Watcher, error) {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.Log == nil {
		options.Log = slog.Default()
	}
	// Before the first read, so that no change falls between the two.
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK, unix.RTNLGRP_TC,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, fmt.Errorf("subscribe to rtnetlink: %w (does the sandbox or seccomp profile allow AF_NETLINK?)", err)
	}
	// Beyond rmem_max only with CAP_NET_ADMIN; a small buffer costs more reads and misses no state.
	if err := socket.SetReceiveBufferSize(receiveBuffer, true); err != nil {
		_ = socket.SetReceiveBufferSize(receiveBuffer, false)
	}
	w := &Watcher{options: options, socket: socket, found: make(chan struct{}, 1)}
	if w.source, err = openSource(); err != nil {
		socket.Close()
		return nil, err
	}
	if w.state, err = w.source.read(); err != nil {
		w.Close()
		return nil, err
	}
	w.events.compare(State{}, w.state, options.Now())
	return w, nil
}

// Events are the last changes of links, qdiscs and routes since the start, the oldest first. Links and routes are
// followed while Run runs.
func (w *Watcher) Events() []netdev.Event { return w.events.list() }

// Close frees the sockets; it ends Run.
func (w *Watcher) Close() {
	w.socket.Close()
	w.source.close()
}

// State is what was read last. Its counters are as old as that.
func (w *Watcher) State() State {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.state
}

// Refresh reads the state anew, for its counters: no event tells of those. What it finds of new devices and qdiscs, Run publishes at once.
func (w *Watcher) Refresh() (State, error) {
	next, changed, err := w.read()
	if changed {
		select {
		case w.found <- struct{}{}:
		default: // one is waiting already
		}
	}
	return next, err
}

// read reads the state, and tells whether it has other devices or qdiscs than before.
func (w *Watcher) read() (next State, changed bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if next, err = w.source.read(); err != nil {
		return State{}, false, err
	}
	now := w.options.Now()
	changed = setChanged(w.state, next, now)
	w.events.compare(w.state, next, now)
	w.state = next
	return next, changed, nil
}

// Run publishes the state at once and after every change of it, counters aside. It returns nil when the context
// ends. It is called once; Refresh goes on to work until Close.
func (w *Watcher) Run(ctx context.Context, publish func(State)) error {
	closed := context.AfterFunc(ctx, w.socket.Close)
	defer closed()

	changed := make(chan struct{}, 1)
	failed := make(chan error, 1)
	go func() { failed <- w.listen(changed) }()

	last := w.State()
	publish(last)
	var read <-chan time.Time
	var since time.Time
	for {
		var next State
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case <-changed:
			if read == nil {
				since = w.options.Now()
				read = time.After(debounce)
			}
			continue
		case <-w.found:
			if read == nil {
				since = w.options.Now()
			}
			next = w.State()
		case <-read:
			read = nil
			var err error
			if next, _, err = w.read(); err != nil {
				if ctx.Err() == nil {
					w.options.Log.Warn("cannot read the network devices; trying again", "err", err, "after", retryAfter)
				}
				read = time.After(retryAfter)
				continue
			}
		}
		next.Since = since
		if !sameConfiguration(last, next) {
			publish(next)
		}
		last = next
	}
}

// listen tells of changes until the socket is closed.
func (w *Watcher) listen(changed chan<- struct{}) error {
	for {
		relevant, err := w.receive()
		if err != nil {
			return fmt.Errorf("listen to rtnetlink: %w", err)
		}
		if !relevant {
			continue
		}
		select {
		case changed <- struct{}{}:
		default: // one is waiting already
		}
	}
}

// receive waits for messages and tells whether one of them can change the state. So can those that were dropped.
func (w *Watcher) receive() (bool, error) {
	messages, from, err := w.socket.Receive()
	switch {
	case errors.Is(err, unix.ENOBUFS):
		return true, nil
	case errors.Is(err, unix.EINTR):
		return false, nil
	case err != nil:
		return false, err
	case from.Pid != nl.PidKernel:
		return false, nil
	}
	relevant := false
	for _, m := range messages {
		w.events.message(m.Header, m.Data, w.options.Now())
		relevant = relevant || isRelevant(m.Header.Type, m.Data)
	}
	return relevant, nil
}

// isRelevant leaves out what comes often and changes nothing: routes other than a default one, and the filters (our
// own among them) that the tc group announces too.
func isRelevant(kind uint16, message []byte) bool {
	switch kind {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK, unix.RTM_NEWADDR, unix.RTM_DELADDR,
		unix.RTM_NEWQDISC, unix.RTM_DELQDISC, unix.RTM_NEWTCLASS, unix.RTM_DELTCLASS:
		return true
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return isDefaultRoute(message)
	}
	return false
}
