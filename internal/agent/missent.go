package agent

import (
	"net/netip"
	"sync"
	"time"

	"tracer/internal/forwarding"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

const (
	// maxMissent bounds the addresses for which it is known whether packets to them are for this node, and missentFor how long
	// that is taken for true.
	maxMissent = 256
	missentFor = 10 * time.Second
)

// missent tells of packets that were freed since their frame was for another MAC whether they are lost: they are for this node
// or its pods, and have come to where they should, or a pod sent them to its gateway. A promiscuous device gets others' frames as well, and a bridge floods them.
type missent struct {
	mu      sync.Mutex
	roles   map[int]netdev.Role
	ports   map[int]bool // of bridges, which pass on frames to others
	known   map[missentTo]bool
	cleared time.Duration
}

// missentTo is the pod's own address of what a pod sent, else the packet's destination, and the device where it was last.
type missentTo struct {
	address netip.Addr
	ifindex int
	sent    bool // by the pod behind that device
}

// setDevices says which devices there are.
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
	m.roles, m.ports, m.known = roles, ports, nil
}

// mark marks those of a batch that are lost.
func (m *missent) mark(batch []record.Record, tables *forwarding.Tables) {
	for i := range batch {
		if r := &batch[i]; r.Kind == record.Dropped && r.Reason == record.OtherHost && r.Attributed && r.Len > 1 {
			r.Missent = m.isLost(r, tables)
		}
	}
}

func (m *missent) isLost(r *record.Record, tables *forwarding.Tables) bool {
	last := r.Hops[r.Len-2] // before that of the free
	to := missentTo{r.Last.Destination.Addr(), last.Ifindex, false}
	m.mu.Lock()
	defer m.mu.Unlock()
	role := m.roles[last.Ifindex]
	switch {
	case role == netdev.RolePod && last.Hook == record.Xmit, role.LeadsOut() && last.Hook == record.Ingress:
	case role == netdev.RolePod && last.Hook == record.Ingress && !m.ports[last.Ifindex]: // there is nobody else whom the pod could mean
		to = missentTo{r.Last.Source.Addr(), last.Ifindex, true}
	default:
		return false
	}
	if r.Time-m.cleared > missentFor {
		m.known, m.cleared = nil, r.Time
	}
	if m.known == nil {
		m.known = map[missentTo]bool{}
	}
	lost, ok := m.known[to]
	if ok || len(m.known) >= maxMissent {
		return lost
	}
	if role == netdev.RolePod {
		lost, _ = tables.PeerHas(last.Ifindex, to.address) // of a pod that has gone nothing is lost
	} else if leadsTo, err := tables.LeadsTo(to.address); err == nil {
		lost = m.isOurs(role, m.roles[leadsTo])
	}
	m.known[to] = lost
	return lost
}

// isOurs tells of what came in by a device of one role, and has a route to one of another, whether it was for us. Several nodes
// may have a virtual address, and what comes in for it by an uplink may be for another one.
func (m *missent) isOurs(in, out netdev.Role) bool {
	if in == netdev.RoleUplink {
		return out == netdev.RolePod || out == netdev.RoleBridge
	}
	return !out.LeadsOut()
}
