package device

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/netdev"
	"tracer/test/steady"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// enterNamespace puts the test into a network namespace of its own until it ends, and returns another one beside it.
func enterNamespace(t *testing.T) (beside netns.NsHandle) {
	t.Helper()
	runtime.LockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	handles := []netns.NsHandle{home}
	t.Cleanup(func() {
		if err := netns.Set(home); err != nil {
			t.Errorf("leave the namespace: %v", err) // the thread stays locked and ends with the test
		} else {
			runtime.UnlockOSThread()
		}
		for _, h := range handles {
			h.Close()
		}
	})
	steady.Watch(t)
	for range 2 {
		ns, err := netns.New()
		if err != nil {
			t.Fatalf("make a network namespace: %v (run the tests as root)", err)
		}
		handles = append(handles, ns)
	}
	return handles[1]
}

// try ends the test where setting something up fails.
func try(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		_, _, line, _ := runtime.Caller(1)
		t.Fatalf("line %d: %v", line, err)
	}
}

func addLink(t *testing.T, l netlink.Link) int {
	t.Helper()
	try(t, netlink.LinkAdd(l))
	found, err := netlink.LinkByName(l.Attrs().Name)
	try(t, err)
	return found.Attrs().Index
}

// addVeth makes a veth and brings it up; its other end has the same name in the namespace given.
func addVeth(t *testing.T, name string, other netns.NsHandle) int {
	t.Helper()
	l := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: name, PeerNamespace: netlink.NsFd(other)}
	index := addLink(t, l)
	try(t, netlink.LinkSetUp(l))
	return index
}

func addAddress(t *testing.T, index int, text string) {
	t.Helper()
	addr, err := netlink.ParseAddr(text)
	try(t, err)
	addr.Flags = unix.IFA_F_NODAD
	try(t, netlink.AddrAdd(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: index}}, addr))
}

func addTBF(t *testing.T, index int, handle, parent uint32) {
	t.Helper()
	try(t, netlink.QdiscAdd(&netlink.Tbf{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: handle, Parent: parent},
		Rate:       6250, Limit: 4408, Buffer: netlink.Xmittime(6250, 4096),
	}))
}

// addComcast sets the tree of the fault tool of that name, with a tbf in netem's place.
func addComcast(t *testing.T, index int) {
	t.Helper()
	try(t, netlink.QdiscAdd(&netlink.Htb{
		QdiscAttrs: netlink.QdiscAttrs{LinkIndex: index, Handle: 0x100000, Parent: netlink.HANDLE_ROOT},
		Version:    3, Defcls: 1, Rate2Quantum: 10,
	}))
	for handle, rate := range map[uint32]uint64{0x100001: 1e9, 0x100010: 50_000} {
		try(t, netlink.ClassAdd(netlink.NewHtbClass(
			netlink.ClassAttrs{LinkIndex: index, Handle: handle, Parent: 0x100000},
			netlink.HtbClassAttrs{Rate: rate, Ceil: rate, Quantum: 1500})))
	}
	addTBF(t, index, 0x1000000, 0x100010)
}

const (
	tbfText     = "tbf 1: rate 50Kbit burst 4Kb limit 4408b"
	comcastText = "htb 10: default 1 / (class 10:1 rate 1Gbit, class 10:10 rate 50Kbit / tbf 100: rate 50Kbit burst 4Kb limit 4408b)"
)

func named(s State, name string) netdev.Device {
	for _, d := range s.Devices {
		if d.Name == name {
			return d
		}
	}
	return netdev.Device{}
}

func TestList(t *testing.T) {
	t.Parallel()
	queueDefault, err := os.ReadFile("/proc/sys/net/core/default_qdisc") // in the machine's own namespace alone
	try(t, err)
	other := enterNamespace(t)

	eth0 := addVeth(t, "eth0", other)
	addAddress(t, eth0, "172.18.0.2/16")
	addAddress(t, eth0, "fd00::2/64")
	try(t, netlink.RouteAdd(&netlink.Route{LinkIndex: eth0, Gw: net.IPv4(172, 18, 0, 1)}))
	addTBF(t, eth0, 0x10000, netlink.HANDLE_ROOT)
	try(t, netlink.QdiscAdd(&netlink.Clsact{QdiscAttrs: netlink.QdiscAttrs{LinkIndex: eth0,
		Handle: netlink.MakeHandle(0xffff, 0), Parent: netlink.HANDLE_CLSACT}}))
	macvlan := addLink(t, &netlink.Macvlan{LinkAttrs: netlink.LinkAttrs{Name: "mac0", ParentIndex: eth0}, Mode: netlink.MACVLAN_MODE_BRIDGE})
	vxlan := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vxlan.calico", MTU: 1400}, VxlanId: 1, VtepDevIndex: eth0, Port: 8472}
	overlay := addLink(t, vxlan)
	try(t, netlink.LinkSetUp(vxlan))
	addAddress(t, overlay, "10.244.1.0/32")
	addComcast(t, overlay)
	cali := addVeth(t, "cali0123456789a", other)
	cni0 := addLink(t, &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cni0"}})
	slave := addVeth(t, "veth0a1b2c3d", other)
	try(t, netlink.LinkSetMasterByIndex(&netlink.Device{LinkAttrs: netlink.LinkAttrs{Index: slave}}, cni0))
	queues := &netlink.Ifb{LinkAttrs: netlink.LinkAttrs{Name: "ifb7", NumTxQueues: 3, TxQLen: 32}}
	ifb := addLink(t, queues)
	try(t, netlink.LinkSetUp(queues))
	tun := addLink(t, &netlink.Tuntap{LinkAttrs: netlink.LinkAttrs{Name: "tun0"}, Mode: netlink.TUNTAP_MODE_TUN, Flags: netlink.TUNTAP_NO_PI})

	state, err := List()
	try(t, err)
	if again, err := List(); err != nil || !sameConfiguration(state, again) {
		t.Errorf("a second look differs: %v", err)
	}

	const noqueue = "noqueue" // the other namespace is the first that this one knows by an id
	for _, want := range []struct {
		device netdev.Device
		root   string
	}{
		{netdev.Device{Index: eth0, Name: "eth0", Kind: "veth", Role: netdev.RoleUplink, Leaves: true, Up: true, NoCarrier: true, MTU: 1500, Ethernet: true, PeerNetns: new(0), Clsact: true,
			Broadcasts: []netip.Addr{netip.MustParseAddr("172.18.255.255")}}, tbfText},
		{netdev.Device{Index: macvlan, Name: "mac0", Kind: "macvlan", Role: netdev.RoleUplink, Lower: []int{eth0}, MTU: 1500, Ethernet: true}, noqueue},
		{netdev.Device{Index: overlay, Name: "vxlan.calico", Kind: "vxlan", Role: netdev.RoleOverlay, Up: true, MTU: 1400, Ethernet: true, TunnelPort: 8472}, comcastText},
		{netdev.Device{Index: cali, Name: "cali0123456789a", Kind: "veth", Role: netdev.RolePod, Leaves: true, Up: true, NoCarrier: true, MTU: 1500, Ethernet: true, PeerNetns: new(0)}, noqueue},
		{netdev.Device{Index: cni0, Name: "cni0", Kind: "bridge", Role: netdev.RoleBridge, Lower: []int{slave}, MTU: 1500, Ethernet: true}, noqueue},
		{netdev.Device{Index: slave, Name: "veth0a1b2c3d", Kind: "veth", Role: netdev.RolePod, Leaves: true, Up: true, NoCarrier: true, MTU: 1500, Ethernet: true, PeerNetns: new(0)}, noqueue},
		{netdev.Device{Index: ifb, Name: "ifb7", Kind: "ifb", Role: netdev.RoleIFB, Up: true, MTU: 1500, Ethernet: true}, "mq / 3x " + strings.TrimSpace(string(queueDefault))},
		{netdev.Device{Index: tun, Name: "tun0", Kind: "tun", Role: netdev.RoleOther, MTU: 1500}, noqueue},
		{netdev.Device{Index: 1, Name: "lo", Role: netdev.RoleOther, MTU: 65536, Ethernet: true}, noqueue},
	} {
		got := named(state, want.device.Name)
		// The default's own settings are the kernel's.
		if root := got.Root.String(); root != want.root && !(got.Index == ifb && strings.HasPrefix(root, want.root)) {
			t.Errorf("%s: root is %q, want %q", got.Name, got.Root, want.root)
		}
		got.Root, got.Traffic, got.Errors = netdev.Qdisc{}, netdev.Traffic{}, nil
		if !reflect.DeepEqual(got, want.device) {
			t.Errorf("%s:\n got %+v\nwant %+v", want.device.Name, got, want.device)
		}
	}
	addresses := []netip.Addr{netip.MustParseAddr("10.244.1.0"), netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("fd00::2")}
	if !slices.Equal(state.Addresses, addresses) {
		t.Errorf("addresses are %v, want %v", state.Addresses, addresses)
	}
	class := named(state, "vxlan.calico").Root.Children[1]
	if class.Handle != "10:10" || class.Burst < 1599 || class.Burst > 1632 {
		t.Errorf("burst of class %s is %d, want the default of about 1606", class.Handle, class.Burst)
	}
}

func TestListManyDevices(t *testing.T) {
	enterNamespace(t) // which holds the thread
	const pairs = 250
	for i := range pairs {
		try(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: fmt.Sprintf("v%d", i)}, PeerName: fmt.Sprintf("w%d", i)}))
	}
	for i := range 50 {
		l, err := netlink.LinkByName(fmt.Sprintf("v%d", i))
		try(t, err)
		addComcast(t, l.Attrs().Index)
	}
	start := steady.ThreadCPU(t)
	state, err := List()
	took := steady.ThreadCPU(t) - start
	try(t, err)
	if len(state.Devices) < 2*pairs || named(state, "v49").Root.String() != comcastText {
		t.Errorf("%d devices; root of v49 is %s", len(state.Devices), named(state, "v49").Root)
	}
	t.Logf("%d devices in %v", len(state.Devices), took)
	if took > 500*time.Millisecond {
		t.Errorf("reading %d devices took %v", len(state.Devices), took)
	}
}
