// Package device finds the network devices of one network namespace, gives each its role, reads its qdisc tree, and
// keeps all of it current. The namespace is that of the thread which calls List or NewWatcher.
package device

import (
	"cmp"
	"encoding/binary"
	"net/netip"
	"reflect"
	"slices"
	"time"

	"tracer/internal/netdev"
)

// State is what a network namespace looked like at one time. It is immutable.
type State struct {
	Devices []netdev.Device // in the order of their index
	// Addresses are those of the namespace itself, loopback's and link-local ones not among them, in order. The
	// addresses of Services that kube-proxy puts on kube-ipvs0 are not: what is sent there goes on to a pod.
	Addresses []netip.Addr
	// Since is when the kernel announced the first of the changes that led here; zero if nothing has changed.
	Since time.Time
}

// List reads the state of the calling thread's network namespace once.
func List() (State, error) {
	s, err := openSource()
	if err != nil {
		return State{}, err
	}
	defer s.close()
	return s.read()
}

// newState puts together what the kernel said.
func newState(links []link, qdiscs, classes []node) State {
	found := classify(links)
	byDevice := group(qdiscs)
	classesOf := group(classes)

	var s State
	for _, l := range links {
		s.Devices = append(s.Devices, netdev.Device{
			Index:      l.index,
			Name:       l.name,
			Kind:       l.kind,
			Role:       found.role[l.index],
			Up:         l.up,
			NoCarrier:  l.noCarrier,
			MTU:        l.mtu,
			Lower:      found.lower[l.index],
			Ethernet:   l.ethernet(),
			TunnelPort: l.tunnelPort,
			PeerNetns:  l.peerNetns(),
			XDP:        l.xdp,
			Broadcasts: broadcasts(l.addresses),
			Traffic:    l.traffic,
			Clsact:     slices.ContainsFunc(byDevice[l.index], node.ingress),
			Root:       tree(byDevice[l.index], classesOf[l.index]),
		})
		if d := &s.Devices[len(s.Devices)-1]; d.Role == netdev.RoleUplink {
			d.Errors = parseErrors(l.statistics)
		}
		if l.name == "kube-ipvs0" {
			continue
		}
		for _, prefix := range l.addresses {
			s.Addresses = append(s.Addresses, prefix.Addr())
		}
	}
	slices.SortFunc(s.Devices, func(a, b netdev.Device) int { return cmp.Compare(a.Index, b.Index) })
	slices.SortFunc(s.Addresses, netip.Addr.Compare)
	s.Addresses = slices.Compact(s.Addresses)
	setLowest(s.Devices)
	return s
}

// broadcasts are the broadcast addresses of IPv4 subnets; one of 31 bits has none (RFC 3021).
func broadcasts(addresses []netip.Prefix) (all []netip.Addr) {
	for _, p := range addresses {
		if !p.Addr().Is4() || p.Bits() > 30 {
			continue
		}
		last := p.Addr().As4()
		binary.BigEndian.PutUint32(last[:], binary.BigEndian.Uint32(last[:])|^uint32(0)>>p.Bits())
		all = append(all, netip.AddrFrom4(last))
	}
	return all
}

func group(nodes []node) map[int][]node {
	groups := make(map[int][]node)
	for _, n := range nodes {
		groups[n.ifindex] = append(groups[n.ifindex], n)
	}
	return groups
}

// setLowest marks where packets leave the namespace, or our sight: pods' devices, tunnels that are not looked into, and uplinks
// that hand their packets to no other uplink of the list.
func setLowest(devices []netdev.Device) {
	uplink := make(map[int]bool)
	for _, d := range devices {
		uplink[d.Index] = d.Role == netdev.RoleUplink
	}
	for i := range devices {
		d := &devices[i]
		switch d.Role {
		case netdev.RolePod:
			d.Leaves = true
		case netdev.RoleOverlay:
			d.Leaves = !netdev.SeesInto(d.Kind)
		case netdev.RoleUplink:
			d.Leaves = !slices.ContainsFunc(d.Lower, func(index int) bool { return uplink[index] })
		default:
			d.Leaves = false
		}
	}
}

// setChanged sets in next when each device's root tree changed: now, if it differs from the one in previous, else what
// previous says. It tells whether one did, or a device is new.
func setChanged(previous, next State, now time.Time) (changed bool) {
	before := make(map[int]netdev.Device)
	for _, d := range previous.Devices {
		before[d.Index] = d
	}
	for i := range next.Devices {
		d := &next.Devices[i]
		old, known := before[d.Index]
		if !known {
			changed = true
			continue
		}
		d.Changed = old.Changed
		if qdiscChanged(old.Root, d.Root) {
			d.Changed, changed = now, true
		}
	}
	return changed
}

// qdiscChanged tells whether a user changed a root qdisc's tree. The kernel's own qdisc in place of none is no change: a
// device gets it when it comes up for the first time.
func qdiscChanged(old, now netdev.Qdisc) bool {
	kernels := old.Handle == "" && now.Handle == "0:"
	return !kernels && !reflect.DeepEqual(configuration(old), configuration(now))
}

// sameConfiguration tells whether two states differ in nothing but counters.
func sameConfiguration(a, b State) bool {
	return slices.Equal(a.Addresses, b.Addresses) &&
		slices.EqualFunc(a.Devices, b.Devices, func(x, y netdev.Device) bool {
			x.Root, y.Root = configuration(x.Root), configuration(y.Root)
			x.Traffic, y.Traffic = netdev.Traffic{}, netdev.Traffic{}
			x.Errors, y.Errors = nil, nil
			return reflect.DeepEqual(x, y)
		})
}

// configuration is the tree without its counters.
func configuration(q netdev.Qdisc) netdev.Qdisc {
	q.Packets, q.Bytes, q.Drops, q.Overlimits, q.Requeues = 0, 0, 0, 0, 0
	q.BacklogBytes, q.BacklogPackets = 0, 0
	q.Children = slices.Clone(q.Children)
	for i, child := range q.Children {
		q.Children[i] = configuration(child)
	}
	return q
}
