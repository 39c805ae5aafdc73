package device

import (
	"cmp"
	"testing"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"tracer/internal/ethtool"
	"tracer/internal/netdev"
)

// TestSoftwareGSO turns offloads of a pod's device off and on.
func TestSoftwareGSO(t *testing.T) {
	t.Parallel()
	other := enterNamespace(t)
	index := addVeth(t, "tmp0", other)
	w := newWatcher(t, nil)
	states := watch(t, w)
	await(t, states, "tmp0, which takes large packets", func(s State) bool {
		d := named(s, "tmp0")
		return d.Role == netdev.RolePod && d.SoftwareGSO == ""
	})
	l, err := netlink.LinkByIndex(index)
	try(t, err)
	socket, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	try(t, err)
	defer unix.Close(socket)
	segmentation := func(on uint32) {
		t.Helper()
		value := [2]uint32{unix.ETHTOOL_STSO, on} // struct ethtool_value
		request := struct {                       // struct ifreq
			name [unix.IFNAMSIZ]byte
			data unsafe.Pointer
			_    [16]byte
		}{data: unsafe.Pointer(&value[0])}
		copy(request.name[:], "tmp0")
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(socket), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
			t.Fatal(errno)
		}
	}
	segmentation(0)
	await(t, states, "tmp0, which does not", func(s State) bool { return named(s, "tmp0").SoftwareGSO == "tx-tcp-segmentation is off" })
	segmentation(1)
	await(t, states, "tmp0, which does again", func(s State) bool { return named(s, "tmp0").SoftwareGSO == "" })

	try(t, netlink.LinkSetGSOMaxSegs(l, 10))
	s, err := w.Refresh() // the kernel does not announce it
	try(t, err)
	if d := named(s, "tmp0"); d.SoftwareGSO != "gso_max_segs is 10" {
		t.Errorf("tmp0, with a limit: %q", d.SoftwareGSO)
	}
	try(t, netlink.LinkSetGSOMaxSegs(l, maxSegments))
	try(t, netlink.LinkSetGSOMaxSize(l, 32768)) // what others hand it may be as large as ever
	s, err = w.Refresh()
	try(t, err)
	if d := named(s, "tmp0"); d.SoftwareGSO != "gso_max_size is 32768, elsewhere 65536" {
		t.Errorf("tmp0, with a smaller limit: %q", d.SoftwareGSO)
	}
}

// TestOffloads knows which features a device needs that tunnels send through.
func TestOffloads(t *testing.T) {
	t.Parallel()
	all := []string{anyChecksum, "tx-scatter-gather", "tx-tcp-segmentation", "tx-tcp6-segmentation", "tx-tcp-ecn-segmentation",
		"tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation", "tx-ipxip4-segmentation"}
	sizes := func(gso, gso4 uint32) packetSizes { return packetSizes{gso: gso, gso4: gso4, segments: maxSegments} }
	for _, test := range []struct {
		name           string
		kind           string // the tunnel's
		lacks          string
		sizes          packetSizes // the uplink's, where they are not usual
		elsewhere      packetSizes // the tunnel's, likewise
		uplink, tunnel string
	}{
		{name: "all", kind: "vxlan"},
		{name: "not for vxlan", kind: "vxlan", lacks: "tx-udp_tnl-segmentation", uplink: "tx-udp_tnl-segmentation is off"},
		{name: "not for vxlan, which is not there", kind: "ipip", lacks: "tx-udp_tnl-segmentation"},
		{name: "not for ipip", kind: "ipip", lacks: "tx-ipxip4-segmentation", uplink: "tx-ipxip4-segmentation is off"},
		{name: "a kind that no device here has", kind: "gre", uplink: "tx-gre-segmentation is off"},
		{name: "no checksums", kind: "vxlan", lacks: anyChecksum, uplink: anyChecksum + " is off", tunnel: anyChecksum + " is off"},
		{name: "smaller", kind: "vxlan", sizes: sizes(32768, 0), uplink: "gso_max_size is 32768, elsewhere 65536"},
		{name: "smaller for IPv4", kind: "vxlan", sizes: sizes(65536, 16384), uplink: "gso_ipv4_max_size is 16384, elsewhere 65536"},
		{name: "larger elsewhere", kind: "vxlan", elsewhere: sizes(131072, 131072), uplink: "gso_max_size is 65536, elsewhere 131072"},
		{name: "larger for IPv6 elsewhere, which goes into IPv4 here", kind: "vxlan", sizes: sizes(131072, 65536),
			elsewhere: sizes(131072, 65536), uplink: "gso_ipv4_max_size is 65536, elsewhere 131072"},
		{name: "larger ones are received", kind: "vxlan", elsewhere: packetSizes{gso: 65536, gso4: 65536, gro: 131072, segments: maxSegments},
			uplink: "gso_max_size is 65536, elsewhere 131072", tunnel: "gso_max_size is 65536, elsewhere 131072"},
		{name: "shorter", kind: "vxlan", sizes: packetSizes{gso: 65536, segments: 64}, uplink: "gso_max_segs is 64"},
	} {
		active := map[string]bool{}
		for _, name := range all {
			active[name] = name != test.lacks
		}
		o := &offloads{missing: map[int][]string{1: missingIn(active), 2: missingIn(active)}}
		usual := packetSizes{gso: 65536, gso4: 65536, gro: 65536, gro4: 65536, segments: maxSegments}
		test.sizes, test.elsewhere = cmp.Or(test.sizes, usual), cmp.Or(test.elsewhere, usual)
		devices := []netdev.Device{{Index: 1, Role: netdev.RoleUplink}, {Index: 2, Role: netdev.RoleOverlay, Kind: test.kind}}
		o.set(devices, map[int]packetSizes{1: test.sizes, 2: test.elsewhere})
		if devices[0].SoftwareGSO != test.uplink || devices[1].SoftwareGSO != test.tunnel {
			t.Errorf("%s: uplink %q, tunnel %q; want %q, %q", test.name, devices[0].SoftwareGSO, devices[1].SoftwareGSO, test.uplink, test.tunnel)
		}
	}
	// Checksums of IPv4 and of IPv6 are as good as of any protocol.
	if missing := missingIn(map[string]bool{checksums[0]: true, checksums[1]: true}); firstOf(nil, missing) != "" {
		t.Errorf("with both checksums: %q", missing)
	}
}

// TestOffloadsOfOthers takes a device that does not answer for one that does nothing.
func TestOffloadsOfOthers(t *testing.T) {
	t.Parallel()
	enterNamespace(t)
	reader, err := ethtool.Open()
	try(t, err)
	o := &offloads{reader: reader, missing: map[int][]string{}}
	defer o.close()
	devices := []netdev.Device{{Index: 9, Name: "none9", Role: netdev.RoleUplink}}
	o.set(devices, nil)
	if devices[0].SoftwareGSO == "" {
		t.Error("a device that is not there takes large packets")
	}
}
