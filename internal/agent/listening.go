package agent

import (
	"sync"

	"golang.org/x/sys/unix"

	"tracer/internal/loader"
	"tracer/internal/record"
)

const (
	// maxCalled bounds the places that are looked at in a second.
	maxCalled = 512
	// callLasts is for how many looks a place is looked at after something was sent there: a SYN that is thrown away comes
	// again after one second, two, four.
	callLasts = 4
	// maxSYN is the length of an IP packet that may be a SYN: with all of its options, of IPv6.
	maxSYN = 80
)

// called are the places in pods of this node that somebody may connect to.
type called struct {
	mu     sync.Mutex
	places map[place]*call
}

type place struct {
	ifindex int // the pod's device
	at      loader.Listener
}

// call is the last small packet to a place, and for how many looks it counts.
type call struct {
	packet record.Record
	looks  int
}

// note takes from a batch which places were called. Who calls has the higher port as a rule, and an answer to a pod that
// has called itself is nothing to look at.
func (c *called) note(batch []record.Record, pods *podDevices) {
	if pods == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.places == nil {
		c.places = make(map[place]*call)
	}
	for i := range batch {
		r := &batch[i]
		to := r.Last.Destination
		if r.Kind != record.Finished || r.Last.Protocol != unix.IPPROTO_TCP || r.IPBytes > maxSYN || r.Len == 0 || to.Port() > r.Last.Source.Port() {
			continue
		}
		last := &r.Hops[r.Len-1]
		if _, pod := pods.appeared[last.Ifindex]; !pod || last.Hook != record.Xmit {
			continue
		}
		key := place{ifindex: last.Ifindex, at: loader.Listener{Address: to}}
		switch known := c.places[key]; {
		case known != nil && known.looks == callLasts: // by another packet since the last look
		case known != nil:
			known.packet, known.looks = *r, callLasts
		case len(c.places) < maxCalled:
			c.places[key] = &call{packet: *r, looks: callLasts}
		}
	}
}

// take returns the places to look at now, with the packets that went there.
func (c *called) take(netns map[int]int) map[loader.Listener]record.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	found := make(map[loader.Listener]record.Record, len(c.places))
	for key, call := range c.places {
		id, known := netns[key.ifindex]
		if call.looks--; call.looks < 0 || !known {
			delete(c.places, key)
			continue
		}
		key.at.Netns = id
		found[key.at] = call.packet
	}
	return found
}

// lookAtListeners counts where applications do not accept their connections: the kernel throws further SYNs away then,
// of most versions without a word.
func (a *Agent) lookAtListeners() error {
	netns := make(map[int]int)
	for _, d := range a.watcher.State().Devices {
		if d.PeerNetns != nil {
			netns[d.Index] = *d.PeerNetns
		}
	}
	places := a.called.take(netns)
	where := make([]loader.Listener, 0, len(places))
	for at := range places {
		where = append(where, at)
	}
	backlogs, err := a.loader.Backlogs(where)
	for at, b := range backlogs {
		if packet := places[at]; b.Full {
			a.counts.AddAcceptQueueFull(&packet, Monotonic(), b)
		}
	}
	return err
}
