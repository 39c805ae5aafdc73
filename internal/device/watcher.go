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
	// qdiscDebounce is the same for changes of qdiscs: hooks may have to be attached for the next packets already.
	qdiscDebounce = 20 * time.Millisecond
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
	w := &Watcher{options: options, socket: socket}
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

// Refresh reads the state anew, for its counters: no event tells of those.
func (w *Watcher) Refresh() (State, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	next, err := w.source.read()
	if err != nil {
		return State{}, err
	}
	now := w.options.Now()
	setChanged(w.state, next, now)
	w.events.compare(w.state, next, now)
	w.state = next
	return next, nil
}

// Run publishes the state at once and after every change of it, counters aside. It returns nil when the context
// ends. It is called once; Refresh goes on to work until Close.
func (w *Watcher) Run(ctx context.Context, publish func(State)) error {
	closed := context.AfterFunc(ctx, w.socket.Close)
	defer closed()

	changed := make(chan time.Duration, 1)
	failed := make(chan error, 1)
	go func() { failed <- w.listen(changed) }()

	last := w.State()
	publish(last)
	var read <-chan time.Time
	var since, at time.Time // at is when it is read
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-failed:
			if ctx.Err() != nil {
				return nil
			}
			return err
		case wait := <-changed:
			if read == nil {
				since = w.options.Now()
			}
			if next := time.Now().Add(wait); read == nil || next.Before(at) {
				read, at = time.After(wait), next
			}
		case <-read:
			read = nil
			next, err := w.Refresh()
			if err != nil {
				if ctx.Err() == nil {
					w.options.Log.Warn("cannot read the network devices; trying again", "err", err, "after", retryAfter)
				}
				read, at = time.After(retryAfter), time.Now().Add(retryAfter)
				continue
			}
			next.Since = since
			if !sameConfiguration(last, next) {
				publish(next)
			}
			last = next
		}
	}
}

// listen tells of changes, and how long to gather more of them, until the socket is closed.
func (w *Watcher) listen(changed chan time.Duration) error {
	for {
		wait, err := w.receive()
		if err != nil {
			return fmt.Errorf("listen to rtnetlink: %w", err)
		}
		if wait == 0 {
			continue
		}
		select {
		case changed <- wait:
		case before := <-changed: // one is waiting already
			changed <- min(before, wait)
		}
	}
}

// receive waits for messages and tells for how long to gather more, 0 if none of them can change the state. Those that were dropped
// can.
func (w *Watcher) receive() (wait time.Duration, err error) {
	messages, from, err := w.socket.Receive()
	switch {
	case errors.Is(err, unix.ENOBUFS):
		w.source.offloads.forget(0)
		return qdiscDebounce, nil
	case errors.Is(err, unix.EINTR):
		return 0, nil
	case err != nil:
		return 0, err
	case from.Pid != nl.PidKernel:
		return 0, nil
	}
	for _, m := range messages {
		w.events.message(m.Header, m.Data, w.options.Now())
		if m.Header.Type == unix.RTM_NEWLINK && len(m.Data) >= unix.SizeofIfInfomsg {
			w.source.offloads.forget(int(u32(m.Data, 4)))
		}
		if next := gathering(m.Header.Type, m.Data); next != 0 && (wait == 0 || next < wait) {
			wait = next
		}
	}
	return wait, nil
}

// gathering is for how long more changes are gathered after a message; 0 if it can change nothing. A clsact or ingress qdisc, which our
// own filters need and those of others, queues nothing: it may wait.
func gathering(kind uint16, message []byte) time.Duration {
	switch {
	case !isRelevant(kind, message):
		return 0
	case kind == unix.RTM_NEWQDISC || kind == unix.RTM_DELQDISC:
		if n, ok := parseNode(message, false); !ok || !n.ingress() {
			return qdiscDebounce
		}
	}
	return debounce
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
