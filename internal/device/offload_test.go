package device

import (
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
)

// TestSplitsInSoftware turns offloads of a pod's device off and on.
func TestSplitsInSoftware(t *testing.T) {
	t.Parallel()
	other := enterNamespace(t)
	index := addVeth(t, "tmp0", other)
	w := newWatcher(t, nil)
	states := watch(t, w)
	await(t, states, "tmp0, which takes large packets", func(s State) bool {
		d := named(s, "tmp0")
		return d.Role == netdev.RolePod && !d.SplitsInSoftware
	})
	segmentation := func(on uint32) {
		value := [2]uint32{unix.ETHTOOL_STSO, on} // struct ethtool_value
		try(t, w.source.offloads.call("tmp0", unsafe.Pointer(&value[0])))
	}
	segmentation(0)
	await(t, states, "tmp0, which does not", func(s State) bool { return named(s, "tmp0").SplitsInSoftware })
	segmentation(1)
	await(t, states, "tmp0, which does again", func(s State) bool { return !named(s, "tmp0").SplitsInSoftware })

	l, err := netlink.LinkByIndex(index)
	try(t, err)
	try(t, netlink.LinkSetGSOMaxSegs(l, 10))
	s, err := w.Refresh() // the kernel does not announce it
	try(t, err)
	if !named(s, "tmp0").SplitsInSoftware {
		t.Error("tmp0 takes packets of more segments than its limit")
	}
}

// TestOffloads knows which features a device needs that tunnels send through.
func TestOffloads(t *testing.T) {
	t.Parallel()
	all := []string{"tx-checksum-ip-generic", "tx-scatter-gather", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation",
		"tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation", "tx-ipxip4-segmentation"}
	for _, test := range []struct {
		name   string
		kind   string // the tunnel's
		lacks  string
		size   gsoSize
		uplink bool // splits
		tunnel bool // splits
	}{
		{name: "all", kind: "vxlan"},
		{name: "not for vxlan", kind: "vxlan", lacks: "tx-udp_tnl-segmentation", uplink: true},
		{name: "not for vxlan, which is not there", kind: "ipip", lacks: "tx-udp_tnl-segmentation"},
		{name: "not for ipip", kind: "ipip", lacks: "tx-ipxip4-segmentation", uplink: true},
		{name: "a kind that the list has and the kernel not", kind: "gre", uplink: true},
		{name: "no checksums", kind: "vxlan", lacks: "tx-checksum-ip-generic", uplink: true, tunnel: true},
		{name: "smaller", kind: "vxlan", size: gsoSize{32768, maxSegments}, uplink: true},
		{name: "shorter", kind: "vxlan", size: gsoSize{65536, 64}, uplink: true},
	} {
		active := features{0}
		for i, name := range all {
			if name != test.lacks {
				active[0] |= 1 << i
			}
		}
		o := &offloads{names: all, active: map[int]features{1: active, 2: active}}
		if test.size == (gsoSize{}) {
			test.size = gsoSize{65536, maxSegments}
		}
		devices := []netdev.Device{{Index: 1, Role: netdev.RoleUplink}, {Index: 2, Role: netdev.RoleOverlay, Kind: test.kind}}
		o.set(devices, map[int]gsoSize{1: test.size, 2: {65536, maxSegments}})
		if devices[0].SplitsInSoftware != test.uplink || devices[1].SplitsInSoftware != test.tunnel {
			t.Errorf("%s: uplink %v, tunnel %v; want %v, %v", test.name, devices[0].SplitsInSoftware, devices[1].SplitsInSoftware, test.uplink, test.tunnel)
		}
	}
}
