package netdev

import (
	"fmt"
	"strings"
)

// Role is what a network device is for on a Kubernetes node. internal/device finds it out; --devices can override it.
//
// What a role decides stands in the table roles below:
//
//   - whether the tc programs are attached to the device (WhyUnhooked), and at which hooks (Hooks);
//   - whether its failures are the node's own (LeadsOut): a link that goes down is a finding, `tracer check` reports
//     critical findings there, a journey that ends there goes out;
//   - whether changes of its link, root qdisc and MTU are kept as events (Watched);
//   - which delay and loss are normal in its queue: whether it has one at all unless it is set up (NoQueue), and
//     whether the CNI may have put a rate limit there (MayBeShaped);
//   - whether it passes packets on to another device as they are (Forwards).
//
// Beyond the table, a pod's device shares one label with those of all other pods (Label), is always where packets leave
// the namespace (Device.Leaves), and is left alone at first on kernels without TCX (internal/loader). An overlay's device
// wraps packets: internal/journey takes what comes after it as encap and decap, unless packets end there (SeesInto).
type Role uint8

// The roles of devices.
const (
	RoleOther   Role = iota
	RolePod          // host side of a pod's veth or netkit
	RoleOverlay      // ipip, vxlan, geneve, gre, sit, and tunnels that are not looked into: wireguard, xfrm, tun, ppp
	RoleUplink       // underlay, and what it stacks on: bond, VLAN, MACsec, slaves; modems (wwan) and InfiniBand too
	RoleBridge
	RoleIFB
)

// PodLabel is the label that the devices of all pods share: there may be hundreds, which come and go.
const PodLabel = "pod"

var roles = [...]struct {
	name     string
	unhooked string
	// egressOnly: what it hands on is at no ingress again (skb->tc_skip_classify).
	egressOnly bool
	leadsOut   bool
	watched    bool
	noqueue    bool
	shaped     bool
	forwards   bool
}{
	RoleOther:   {name: "other", unhooked: "neither a pod's device nor overlay nor uplink"},
	RolePod:     {name: "pod", noqueue: true, shaped: true},
	RoleOverlay: {name: "overlay", leadsOut: true, watched: true, noqueue: true},
	RoleUplink:  {name: "uplink", leadsOut: true, watched: true},
	RoleBridge: {name: "bridge", unhooked: "a bridge: its packets are seen at its ports",
		watched: true, noqueue: true, forwards: true},
	RoleIFB: {name: "ifb", egressOnly: true, shaped: true, forwards: true},
}

// WhyUnhooked says why no tc programs are attached to such a device, "" if they are.
func (r Role) WhyUnhooked() string { return roles[r].unhooked }

// Hooks are the tc hooks of such a device where packets are seen.
func (r Role) Hooks() []string {
	if roles[r].egressOnly {
		return []string{"egress"}
	}
	return []string{"ingress", "egress"}
}

// LeadsOut tells whether packets leave and reach the node through such a device: overlays and uplinks.
func (r Role) LeadsOut() bool { return roles[r].leadsOut }

// Watched tells whether a change of such a device's link, root qdisc or MTU may explain what many packets meet. Pods'
// devices come and go all the time.
func (r Role) Watched() bool { return roles[r].watched }

// NoQueue tells whether such a device's root qdisc is noqueue unless another one is set: tunnels, veths and
// bridges are IFF_NO_QUEUE. Of others the default depends on hardware and sysctl.
func (r Role) NoQueue() bool { return roles[r].noqueue }

// MayBeShaped tells whether a tbf on such a device is normal: the CNI's bandwidth plugin limits pods there, on the veth for
// what they receive and on an ifb for what they send.
func (r Role) MayBeShaped() bool { return roles[r].shaped }

// Forwards tells whether such a device's transmit function decides where a packet goes next. Those of all other stacked
// devices (tunnel, bond, VLAN) wrap or pass it.
func (r Role) Forwards() bool { return roles[r].forwards }

// Label is by what a device of this role is known in metrics and findings: its name, PodLabel, or "ifb" for those that the
// CNI's bandwidth plugin makes, one for each pod with a limit (getIfbDeviceName in plugins/meta/bandwidth).
func (r Role) Label(name string) string {
	switch {
	case r == RolePod:
		return PodLabel
	case r == RoleIFB && strings.HasPrefix(name, "bwp"):
		return "ifb"
	}
	return name
}

func (r Role) String() string {
	if int(r) < len(roles) {
		return roles[r].name
	}
	return fmt.Sprintf("role(%d)", uint8(r))
}

// MarshalText writes the role's name.
func (r Role) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a role's name.
func (r *Role) UnmarshalText(text []byte) error {
	for i := range roles {
		if roles[i].name == string(text) {
			*r = Role(i)
			return nil
		}
	}
	return fmt.Errorf("unknown role %q", text)
}
