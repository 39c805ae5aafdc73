package device

import (
	"net/netip"
	"regexp"

	"tracer/internal/netdev"
)

// roles are what classify finds out, by device index.
type roles struct {
	role  map[int]netdev.Role
	lower map[int][]int
}

// classify gives each device its role and what it hands its packets to.
//
//   - overlay: by its kind, or since it is virtual and carries IP packets without an Ethernet header (tun, ppp, gtp …): then
//     it is some tunnel's. The latter are other as long as they are down, and so are the fallback devices that a tunnel's
//     module puts into every namespace (gre0, sit0 …); Calico's IPIP device is such a one, tunl0, and is up.
//   - bridge, ifb: by their kind. An Open vSwitch port that is no slave is a bridge: it is the switch's way to the
//     host.
//   - uplink: hardware (an InfiniBand port and a modem too, which have kinds), a bond with its slaves, and what stacks on
//     an uplink (VLAN, macvlan …) or on a bridge with an uplink in it, or on a device that another namespace has.
//   - pod: a veth or netkit whose other end is in another namespace. But where the node is a namespace itself (kind,
//     k3d, labs) its eth0 is a veth too: see isUnderlay.
//   - other: loopback, dummies, taps, veths with both ends here (cilium_host).
func classify(links []link) roles {
	c := classifier{
		links:  make(map[int]*link),
		slaves: make(map[int][]*link),
		owners: make(map[netip.Addr]int),
		bound:  make(map[int]bool),
		roles:  roles{role: make(map[int]netdev.Role), lower: make(map[int][]int)},
	}
	for i := range links {
		l := &links[i]
		c.links[l.index] = l
		if l.master != 0 {
			c.slaves[l.master] = append(c.slaves[l.master], l)
		}
		if l.underlay != 0 {
			c.bound[l.underlay] = true
		}
		for _, prefix := range l.addresses {
			c.owners[prefix.Addr()]++
		}
	}
	for _, l := range c.links {
		c.roleOf(l)
		if lower := c.lowerOf(l); len(lower) > 0 {
			c.lower[l.index] = lower
		}
	}
	return c.roles
}

type classifier struct {
	links  map[int]*link
	slaves map[int][]*link
	owners map[netip.Addr]int // how many devices carry an address
	bound  map[int]bool       // devices that a tunnel is bound to
	roles
}

func (c *classifier) roleOf(l *link) netdev.Role {
	if role, known := c.role[l.index]; known {
		return role
	}
	c.role[l.index] = netdev.RoleOther // ends the recursion, should a snapshot taken amid changes have a loop
	role := c.find(l)
	c.role[l.index] = role
	return role
}

func (c *classifier) find(l *link) netdev.Role {
	master := c.links[l.master]
	switch {
	case l.loopback, isFallback(l.name) && !l.up:
		return netdev.RoleOther
	case isTunnel(l.kind):
		return netdev.RoleOverlay
	case l.kind == "ifb":
		return netdev.RoleIFB
	case isBridge(l.kind):
		return netdev.RoleBridge
	case l.isHardware(), isBond(l.kind), master != nil && isBond(master.kind):
		return netdev.RoleUplink
	case isStacked(l.kind):
		if l.foreign || c.reachesUplink(c.links[l.parent]) {
			return netdev.RoleUplink
		}
		return netdev.RoleOther
	case (l.kind == "veth" || l.kind == "netkit") && l.foreign:
		if c.isUnderlay(l, master) {
			return netdev.RoleUplink
		}
		return netdev.RolePod
	case l.bareIP() && l.up:
		return netdev.RoleOverlay
	}
	return netdev.RoleOther
}

// isUnderlay tells whether a veth or netkit to another namespace is this node's network card rather than a pod's.
// Pods' devices are slaves of a bridge (cni0), or have no address (Calico, Cilium, AWS), or the pods' gateway address
// as a single host's or on many devices at once (the ptp plugin of kindnet and GKE). An underlay device is none of
// these and carries the default route, or a tunnel is bound to it, or it has an address of a network of its own.
// There a name as CNI plugins make them up speaks against it.
func (c *classifier) isUnderlay(l, master *link) bool {
	if master != nil && isBridge(master.kind) {
		return false
	}
	if l.defaultRoute || c.bound[l.index] {
		return true
	}
	if podName.MatchString(l.name) {
		return false
	}
	for _, prefix := range l.addresses {
		if !prefix.IsSingleIP() && c.owners[prefix.Addr()] == 1 {
			return true
		}
	}
	return false
}

// reachesUplink tells whether what stacks on l sends through an uplink.
func (c *classifier) reachesUplink(l *link) bool {
	if l == nil {
		return false
	}
	switch c.roleOf(l) {
	case netdev.RoleUplink:
		return true
	case netdev.RoleBridge:
		for _, slave := range c.slaves[l.index] {
			if c.roleOf(slave) == netdev.RoleUplink {
				return true
			}
		}
	}
	return false
}

// lowerOf lists the devices of this namespace that l hands its packets to.
func (c *classifier) lowerOf(l *link) []int {
	var lower []int
	switch {
	case isStacked(l.kind) && !sendsOtherwise(l.kind) && !l.foreign && c.links[l.parent] != nil:
		lower = append(lower, l.parent)
	case isBond(l.kind), isBridge(l.kind):
		for _, slave := range c.slaves[l.index] {
			lower = append(lower, slave.index)
		}
	case l.kind == "":
		// A netvsc or a failover device uses its virtual function as long as that is up, and sends by itself
		// otherwise.
		for _, slave := range c.slaves[l.index] {
			if slave.kind == "" && slave.up {
				lower = append(lower, slave.index)
			}
		}
	}
	return lower
}

// podName matches what CNI plugins name their devices after a hash: Calico, Cilium, AWS, Azure, GKE, and the reference
// plugins with most that build on them.
var podName = regexp.MustCompile(`^(cali|lxc|eni|azv|gke|veth)[0-9a-f]{7,}$`)

func isTunnel(kind string) bool {
	switch kind {
	case "ipip", "sit", "ip6tnl", "vxlan", "geneve", "bareudp", "wireguard",
		"gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan", "vti", "vti6", "xfrm", "ovpn":
		return true
	}
	return false
}

func isFallback(name string) bool {
	switch name {
	case "tunl0", "sit0", "ip6tnl0", "gre0", "gretap0", "erspan0", "ip6gre0", "ip_vti0", "ip6_vti0":
		return true
	}
	return false
}

func isBridge(kind string) bool { return kind == "bridge" || kind == "openvswitch" }

func isBond(kind string) bool { return kind == "bond" || kind == "team" }

// isStacked names the kinds that stand on one other device.
func isStacked(kind string) bool {
	switch kind {
	case "vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "macsec", "ipoib":
		return true
	}
	return false
}

// sendsOtherwise names the stacked kinds whose packets do not come to the other device's hooks as they are: MACsec encrypts
// them, and an InfiniBand partition has queues of its own at the port.
func sendsOtherwise(kind string) bool { return kind == "macsec" || kind == "ipoib" }
