package agent

import (
	"context"
	"maps"
	"net/netip"
	"sync"
	"time"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

const (
	// maxMissent bounds the addresses for which it is known whether packets to them are for this node, and missentFor how long
	// that is taken for true without the kernel being asked again.
	maxMissent = 256
	missentFor = 10 * time.Second
	// missentWait is how long the reading of records waits for the kernel's answer: as a rule it comes in less than a millisecond,
	// and in seconds where somebody holds rtnetlink's lock.
	missentWait = 10 * time.Millisecond
)

// missent tells of packets that were freed since their frame was for another MAC whether they are lost: they are for this node
// or its pods, and have come to where they should, or a pod sent them to its gateway. A promiscuous device gets others' frames as well, and a bridge floods them.
type missent struct {
	asked chan struct{} // something is wanted

	mu       sync.Mutex
	roles    map[int]netdev.Role
	ports    map[int]bool // of bridges, which pass on frames to others
	known    map[missentTo]missentAnswer
	wanted   map[missentTo]time.Duration // when the packet was freed
	tidied   time.Duration               // when room was made
	answered chan struct{}               // closed once all that is wanted is known; nil while nobody waits for that
}

// missentTo is the pod's own address of what a pod sent, else the packet's destination, and the device where it was last.
type missentTo struct {
	address netip.Addr
	ifindex int
	sent    bool // by the pod behind that device
}

// missentAnswer is whether packets are lost, and of when that is (CLOCK_MONOTONIC).
type missentAnswer struct {
	lost bool
	at   time.Duration
}

// missentTables are the kernel's, as package forwarding asks them.
type missentTables interface {
	PeerHas(ifindex int, address netip.Addr) (bool, error)
	LeadsTo(to netip.Addr) (ifindex int, err error)
}

func newMissent() *missent {
	return &missent{
		asked: make(chan struct{}, 1), known: map[missentTo]missentAnswer{}, wanted: map[missentTo]time.Duration{},
	}
}

// setDevices says which devices there are. What is known of a device stays true while that is what it was.
func (m *missent) setDevices(devices []netdev.Device) {
	roles := make(map[int]netdev.Role, len(devices))
	ports := map[int]bool{}
	for i := range devices {
		roles[devices[i].Index] = devices[i].Role
		for _, port := range devices[i].Lower {
			ports[port] = ports[port] || devices[i].Role == netdev.RoleBridge
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.known, func(to missentTo, _ missentAnswer) bool {
		return roles[to.ifindex] != m.roles[to.ifindex] || ports[to.ifindex] != m.ports[to.ifindex]
	})
	m.roles, m.ports = roles, ports
}

// mark marks those of a batch that are lost. Those of which the kernel does not say so at once are taken for none.
func (m *missent) mark(batch []record.Record) {
	answered := m.markKnown(batch)
	if answered == nil {
		return
	}
	timer := time.NewTimer(missentWait)
	defer timer.Stop()
	select {
	case <-answered:
		m.markKnown(batch)
	case <-timer.C:
	}
}

// markKnown marks those that are known to be lost, and has the kernel asked about what is not known, or no longer for sure. It returns a
// channel that is closed once it is known; nil if it is, or if the kernel owes answers already.
func (m *missent) markKnown(batch []record.Record) (answered <-chan struct{}) {
	m.mu.Lock()
	defer m.mu.Unlock()
	missing := false
	for i := range batch {
		r := &batch[i]
		if r.Kind != record.Dropped || r.Reason != record.OtherHost || !r.Attributed || r.Len < 2 {
			continue
		}
		last := r.Hops[r.Len-2] // before that of the free
		to := missentTo{r.Last.Destination.Addr(), last.Ifindex, false}
		switch role := m.roles[last.Ifindex]; {
		case role == netdev.RolePod && last.Hook == record.Xmit, role.LeadsOut() && last.Hook == record.Ingress:
		case role == netdev.RolePod && last.Hook == record.Ingress && !m.ports[last.Ifindex]: // there is nobody else whom the pod could mean
			to = missentTo{r.Last.Source.Addr(), last.Ifindex, true}
		default:
			continue
		}
		is, known := m.known[to]
		r.Missent = is.lost
		if known && r.Time-is.at <= missentFor || len(m.wanted) >= maxMissent || !known && !m.hasRoom(r.Time) {
			continue
		}
		m.wanted[to] = r.Time
		missing = missing || !known
	}
	if len(m.wanted) > 0 {
		select {
		case m.asked <- struct{}{}:
		default: // it will be looked at
		}
	}
	if missing && m.answered == nil {
		m.answered = make(chan struct{})
		return m.answered
	}
	return nil
}

// answer asks the kernel what is wanted, until ctx ends.
func (m *missent) answer(ctx context.Context, tables missentTables) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.asked:
		}
		for ctx.Err() == nil && m.answerOne(tables) {
		}
	}
}

// answerOne answers one of those that are wanted, and tells whether there are more.
func (m *missent) answerOne(tables missentTables) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	for to, at := range m.wanted {
		role := m.roles[to.ifindex]
		m.mu.Unlock()
		lost, leadsTo := false, 0
		var err error
		if role == netdev.RolePod {
			lost, err = tables.PeerHas(to.ifindex, to.address)
		} else {
			leadsTo, err = tables.LeadsTo(to.address)
		}
		m.mu.Lock()
		if role != netdev.RolePod {
			lost = m.isOurs(role, m.roles[leadsTo])
		}
		delete(m.wanted, to)
		m.known[to] = missentAnswer{lost && err == nil, at} // of a pod that has gone nothing is lost
		break
	}
	if len(m.wanted) > 0 {
		return true
	}
	if m.answered != nil {
		close(m.answered)
		m.answered = nil
	}
	return false
}

// hasRoom tells whether one more can be known. What has not been asked for lately makes room, which is looked for once a second.
func (m *missent) hasRoom(now time.Duration) bool {
	if len(m.known)+len(m.wanted) >= maxMissent && now-m.tidied > time.Second {
		m.tidied = now
		maps.DeleteFunc(m.known, func(_ missentTo, is missentAnswer) bool { return now-is.at > missentFor })
	}
	return len(m.known)+len(m.wanted) < maxMissent
}

// isOurs tells of what came in by a device of one role, and has a route to one of another, whether it was for us. Several nodes
// may have a virtual address, and what comes in for it by an uplink may be for another one.
func (m *missent) isOurs(in, out netdev.Role) bool {
	if in == netdev.RoleUplink {
		return out == netdev.RolePod || out == netdev.RoleBridge
	}
	return !out.LeadsOut()
}
