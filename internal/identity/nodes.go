package identity

import (
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"

	"tracer/internal/rtnl"
)

// Nodes are the addresses of the cluster's nodes, as far as this node's own addresses and routes show them. The API server
// need not be asked for them.
type Nodes struct {
	addresses map[netip.Addr]bool
	networks  []netip.Prefix // that hold nodes and no pods
}

// ReadNodes reads them from the current network namespace: its own addresses, and the gateways of all routes that lead
// to some network, which are the other nodes under most overlays.
func ReadNodes() (*Nodes, error) {
	addresses, err := rtnl.Complete(func() ([]netlink.Addr, error) { return netlink.AddrList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	routes, err := rtnl.Complete(func() ([]netlink.Route, error) { return netlink.RouteList(nil, netlink.FAMILY_ALL) })
	if err != nil {
		return nil, fmt.Errorf("read routes: %w", err)
	}
	return newNodes(addresses, routes), nil
}

func newNodes(addresses []netlink.Addr, routes []netlink.Route) *Nodes {
	n := &Nodes{addresses: map[netip.Addr]bool{}}
	uplinks := map[int]bool{}
	var single []netip.Addr // with a route of their own: pods
	for _, r := range routes {
		gateway, hasGateway := address(r.Gw)
		dst, ok := prefix(r.Dst)
		switch {
		case hasGateway && (!ok || dst.Bits() == 0): // the way out
			uplinks[r.LinkIndex] = true
		case hasGateway && !gateway.IsLinkLocalUnicast():
			n.addresses[gateway] = true
			uplinks[r.LinkIndex] = true
		case ok && dst.IsSingleIP():
			single = append(single, dst.Addr())
		}
	}
	for _, a := range addresses {
		p, ok := prefix(a.IPNet)
		if !ok || p.Addr().IsLoopback() {
			continue
		}
		n.addresses[p.Addr()] = true
		if uplinks[a.LinkIndex] && !p.IsSingleIP() && !p.Addr().IsLinkLocalUnicast() {
			n.networks = append(n.networks, p.Masked())
		}
	}
	// Some clouds give pods addresses of the nodes' own network.
	nodesOnly := n.networks[:0]
	for _, p := range n.networks {
		pods := false
		for _, a := range single {
			pods = pods || p.Contains(a) && !n.addresses[a]
		}
		if !pods {
			nodesOnly = append(nodesOnly, p)
		}
	}
	n.networks = nodesOnly
	return n
}

func address(ip net.IP) (netip.Addr, bool) {
	a, ok := netip.AddrFromSlice(ip)
	a = a.Unmap()
	return a, ok && !a.IsUnspecified()
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	if !ok {
		return netip.Prefix{}, false
	}
	bits, _ := n.Mask.Size()
	return netip.PrefixFrom(a.Unmap(), bits), true
}

func (n *Nodes) equal(o *Nodes) bool {
	return n != nil && o != nil && maps.Equal(n.addresses, o.addresses) && slices.Equal(n.networks, o.networks)
}

// SetNodes says which addresses are nodes'.
func (k *Kubernetes) SetNodes(n *Nodes) {
	if n.equal(k.nodes.Load()) {
		return
	}
	k.nodes.Store(n)
	k.owners.version.Add(1)
}

func (k *Kubernetes) readNodes() {
	if k.nodes.Load() == nil {
		return
	}
	n, err := ReadNodes()
	if err != nil {
		k.log.Warn("cannot read the nodes' addresses; trying again", "err", err)
		return
	}
	k.SetNodes(n)
}

// isNode tells whether an address is a node's.
func (k *Kubernetes) isNode(a netip.Addr) bool {
	n := k.nodes.Load()
	if n == nil {
		return false
	}
	if n.addresses[a] {
		return true
	}
	for _, p := range n.networks {
		if p.Contains(a) {
			return true
		}
	}
	return false
}
