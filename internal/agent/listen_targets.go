package agent

import (
	"net/netip"
	"sync"

	"golang.org/x/sys/unix"

	"tracer/internal/loader"
	"tracer/internal/record"
)

const (
	// maxTargets bounds the accept queues that are read in a second.
	maxTargets = 512
	// targetPolls is how many times a target's accept queue is read after something was sent there: a SYN that is dropped
	// comes again after one second, two, four.
	targetPolls = 4
	// maxSYN is the length of an IP packet that may be a SYN: with all of its options, of IPv6.
	maxSYN = 80
)

// listenTargets are the addresses and ports in pods of this node that somebody may have connected to lately.
type listenTargets struct {
	mu    sync.Mutex
	known map[listenTarget]*attempt
}

type listenTarget struct {
	ifindex int // the pod's device
	address netip.AddrPort
}

// attempt is the last small packet to a target, and how many more times the target is polled for it.
type attempt struct {
	packet record.Record
	polls  int
}

// add takes targets from a batch. A client has the higher port as a rule; the answer to a client in a pod of this node has
// no target.
func (t *listenTargets) add(batch []record.Record, isPod func(ifindex int) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = make(map[listenTarget]*attempt)
	}
	for i := range batch {
		r := &batch[i]
		to := r.Last.Destination
		if r.Kind != record.Finished || r.Last.Protocol != unix.IPPROTO_TCP || r.IPBytes > maxSYN || r.Len == 0 || to.Port() > r.Last.Source.Port() {
			continue
		}
		last := &r.Hops[r.Len-1]
		if last.Hook != record.Xmit || !isPod(last.Ifindex) {
			continue
		}
		target := listenTarget{last.Ifindex, to}
		switch known := t.known[target]; {
		case known != nil && known.polls == targetPolls: // by another packet since the last poll
		case known != nil:
			known.packet, known.polls = *r, targetPolls
		case len(t.known) < maxTargets:
			t.known[target] = &attempt{packet: *r, polls: targetPolls}
		}
	}
}

// poll returns the targets to poll now, with the packets that went there. netns are the pods' network namespaces by
// device.
func (t *listenTargets) poll(netns map[int]int) map[loader.ListenTarget]record.Record {
	t.mu.Lock()
	defer t.mu.Unlock()
	found := make(map[loader.ListenTarget]record.Record, len(t.known))
	for target, attempt := range t.known {
		id, known := netns[target.ifindex]
		if attempt.polls--; attempt.polls < 0 || !known {
			delete(t.known, target)
			continue
		}
		found[loader.ListenTarget{Netns: id, Address: target.address}] = attempt.packet
	}
	return found
}

// readListeners counts the accept queues that are full, of applications that do not accept their connections, and the SYN queues
// that are, of clients that leave theirs half open: the kernel drops further SYNs then, most versions of it without saying so. It
// also tells how many are half open.
func (a *Agent) readListeners() error {
	netns := make(map[int]int)
	for _, d := range a.watcher.State().Devices {
		if d.PeerNetns != nil {
			netns[d.Index] = *d.PeerNetns
		}
	}
	targets := a.listenTargets.poll(netns)
	where := make([]loader.ListenTarget, 0, len(targets))
	for at := range targets {
		where = append(where, at)
	}
	listeners, err := a.loader.Listeners(where)
	for at, l := range listeners {
		now := loader.Monotonic()
		a.counts.SetHalfOpen(at.Address, now, l.SYNQueue.Length)
		if packet := targets[at]; l.AcceptQueue.Full || l.SYNQueue.Full {
			a.counts.AddQueueFull(&packet, now, l)
		}
	}
	return err
}
