package forwarding

import (
	"net/netip"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/vishvananda/netns"

	"tracer/internal/record"
)

// inNamespace runs commands, one a line, in a new network namespace, in which the test goes on.
func inNamespace(t *testing.T, commands string) *Tables {
	t.Helper()
	runtime.LockOSThread() // for good: the thread ends in this namespace
	space, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	for line := range strings.Lines(commands) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if out, err := exec.Command("bash", "-e", "-c", line).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", line, err, out)
		}
	}
	tables, err := Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tables.Close)
	return tables
}

// TestRoute finds the rule and the route that decide.
func TestRoute(t *testing.T) {
	t.Parallel()
	tables := inNamespace(t, `
		ip link set lo up
		ip link add eth0 type veth peer name wire
		ip link set eth0 up
		ip link set wire up
		ip addr add 172.30.0.11/24 dev eth0
		ip addr add fd00:1::11/64 dev eth0 nodad
		ip route add blackhole 10.2.0.1
		ip route add unreachable 10.2.1.0/24 proto bird
		ip route add prohibit 10.2.0.3
		ip route add 10.2.1.7 via 172.30.0.12
		ip route add 10.3.0.0/16 via 172.30.0.13
		ip route add throw 10.3.0.0/16 table 7
		ip route add default via 172.30.0.1 table 7
		ip route add blackhole default table 8
		ip route add 10.4.0.0/16 nexthop via 172.30.0.14 nexthop via 172.30.0.15
		ip rule add pref 100 from 10.1.0.5 to 10.2.1.0/24 prohibit
		ip rule add pref 200 from 10.1.0.6 lookup 7
		ip rule add pref 300 iif eth0 to 10.3.0.0/16 unreachable
		ip rule add pref 400 fwmark 1 blackhole
		ip rule add pref 500 to 10.9.0.0/16 goto 600
		ip rule add pref 550 to 10.9.0.0/16 prohibit
		ip rule add pref 600 to 10.9.0.0/16 lookup 8
		ip -6 route add unreachable fd00:2::/64
		ip -6 route add blackhole fd00:2::7
		ip -6 route add fd00:3::/64 via fd00:1::12
		ip -6 rule add pref 100 from fd00:5::5 blackhole
	`)
	for _, test := range []struct {
		from, to, in string
		want         record.RouteLookup
	}{
		{to: "10.2.0.1", want: record.RouteLookup{Result: "blackhole", Route: "blackhole 10.2.0.1"}},
		{to: "10.2.0.3", want: record.RouteLookup{Result: "prohibit", Route: "prohibit 10.2.0.3"}},
		{to: "10.2.1.1", want: record.RouteLookup{Result: "unreachable", Route: "unreachable 10.2.1.0/24 proto bird", Block: true}},
		{to: "10.2.1.7", want: record.RouteLookup{Route: "10.2.1.7 via 172.30.0.12 dev eth0", NextHop: netip.MustParseAddr("172.30.0.12"), Out: "eth0"}},
		{to: "10.2.1.7", from: "10.1.0.5", want: record.RouteLookup{Result: "prohibit", Rule: "100: from 10.1.0.5 to 10.2.1.0/24 prohibit"}},
		{to: "10.5.0.1", want: record.RouteLookup{Result: "there is no route"}},
		{to: "10.5.0.1", from: "10.1.0.6", want: record.RouteLookup{
			Rule: "200: from 10.1.0.6 lookup 7", Route: "default via 172.30.0.1 dev eth0 table 7", Block: true, NextHop: netip.MustParseAddr("172.30.0.1"), Out: "eth0",
		}},
		{to: "10.3.0.1", from: "10.1.0.6", want: record.RouteLookup{ // table 7 throws it back
			Route: "10.3.0.0/16 via 172.30.0.13 dev eth0", Block: true, NextHop: netip.MustParseAddr("172.30.0.13"), Out: "eth0",
		}},
		{to: "10.3.0.1", in: "eth0", want: record.RouteLookup{Result: "unreachable", Rule: "300: from all to 10.3.0.0/16 iif eth0 unreachable"}},
		{to: "10.4.0.1", want: record.RouteLookup{Route: "10.4.0.0/16 via 172.30.0.14 dev eth0", Block: true, NextHop: netip.MustParseAddr("172.30.0.14"), Out: "eth0"}},
		{to: "10.9.0.1", want: record.RouteLookup{
			Result: "blackhole", Rule: "600: from all to 10.9.0.0/16 lookup 8", Route: "blackhole default table 8", Block: true,
		}},
		{to: "172.30.0.77", want: record.RouteLookup{Route: "172.30.0.0/24 dev eth0", Block: true, NextHop: netip.MustParseAddr("172.30.0.77"), Out: "eth0"}},
		{to: "172.30.0.11", want: record.RouteLookup{Route: "172.30.0.11 table local"}},
		{to: "fd00:2::1", want: record.RouteLookup{Result: "unreachable", Route: "unreachable fd00:2::/64", Block: true}},
		{to: "fd00:2::7", want: record.RouteLookup{Result: "blackhole", Route: "blackhole fd00:2::7"}},
		{to: "fd00:3::7", want: record.RouteLookup{Route: "fd00:3::/64 via fd00:1::12 dev eth0", Block: true, NextHop: netip.MustParseAddr("fd00:1::12"), Out: "eth0"}},
		{to: "fd00:3::7", from: "fd00:5::5", want: record.RouteLookup{Result: "blackhole", Rule: "100: from fd00:5::5 blackhole"}},
		{to: "fd00:9::1", want: record.RouteLookup{Result: "there is no route"}},
	} {
		p := Packet{Destination: netip.MustParseAddr(test.to), Device: test.in}
		if test.from != "" {
			p.Source = netip.MustParseAddr(test.from)
		}
		test.want.Destination = p.Destination
		got := record.RouteLookup{Destination: p.Destination}
		if err := tables.Route(&got, tables.Routes(p.Destination), p); err != nil {
			t.Fatal(err)
		}
		if got != test.want {
			t.Errorf("%s from %q in by %q:\n got %+v\nwant %+v", test.to, test.from, test.in, got, test.want)
		}
	}
}

// TestNeighbour reads the next hop's entry, the forwarding entry of its MAC, and the other end of a pod's device.
func TestNeighbour(t *testing.T) {
	t.Parallel()
	tables := inNamespace(t, `
		ip link set lo up
		ip link add eth0 type veth peer name wire
		ip link set eth0 up
		ip link set wire up
		ip addr add 172.30.0.11/24 dev eth0
		ip addr add fd00:1::11/64 dev eth0 nodad
		ip link add vx type vxlan id 9 dstport 4789 local 172.30.0.11 nolearning
		ip link set vx up
		ip route add 10.2.0.0/24 via 10.2.0.0 dev vx onlink
		ip route add 10.3.0.0/24 via 10.3.0.0 dev vx onlink
		ip neigh replace 10.2.0.0 lladdr 66:00:00:00:00:02 dev vx nud permanent
		ip neigh replace 10.3.0.0 lladdr 66:00:00:00:00:03 dev vx nud permanent
		bridge fdb add 66:00:00:00:00:02 dev vx dst 172.30.0.12 self
		ip neigh replace 172.30.0.12 lladdr 02:00:00:00:00:12 dev eth0 nud stale
		ip neigh replace 172.30.0.99 dev eth0 nud failed
		ip -6 neigh replace fd00:1::99 dev eth0 nud failed
	`)
	for to, want := range map[string]record.RouteLookup{
		"10.2.0.7":    {NextHop: netip.MustParseAddr("10.2.0.0"), Out: "vx", Neighbour: "PERMANENT", LinkAddress: "66:00:00:00:00:02", Node: netip.MustParseAddr("172.30.0.12")},
		"10.3.0.7":    {NextHop: netip.MustParseAddr("10.3.0.0"), Out: "vx", Neighbour: "PERMANENT", LinkAddress: "66:00:00:00:00:03", NoForwardingEntry: true},
		"172.30.0.12": {NextHop: netip.MustParseAddr("172.30.0.12"), Out: "eth0", Neighbour: "STALE", LinkAddress: "02:00:00:00:00:12"},
		"172.30.0.99": {NextHop: netip.MustParseAddr("172.30.0.99"), Out: "eth0", Neighbour: "FAILED"},
		"172.30.0.50": {NextHop: netip.MustParseAddr("172.30.0.50"), Out: "eth0"},
		"fd00:1::99":  {NextHop: netip.MustParseAddr("fd00:1::99"), Out: "eth0", Neighbour: "FAILED"},
	} {
		got := lookUp(t, tables, to)
		want.Destination = got.Destination
		got.Route, got.Block = "", false
		if got != want {
			t.Errorf("%s:\n got %+v\nwant %+v", to, got, want)
		}
	}
	under := lookUp(t, tables, "10.2.0.7")
	if err := tables.Underlay(&under); err != nil || under.Out != "eth0" || under.NextHop.String() != "172.30.0.12" || under.Neighbour != "STALE" {
		t.Errorf("under the tunnel: %+v, %v", under, err)
	}
	table, err := tables.Table(netip.MustParseAddr("10.2.0.7"))
	if err != nil || table.Limit == 0 || table.Sysctl != "net.ipv4.neigh.default.gc_thresh3" {
		t.Errorf("table %+v, %v", table, err)
	}
}

func lookUp(t *testing.T, tables *Tables, to string) record.RouteLookup {
	t.Helper()
	found := record.RouteLookup{Destination: netip.MustParseAddr(to)}
	if err := tables.Route(&found, tables.Routes(found.Destination), Packet{Destination: found.Destination}); err != nil {
		t.Fatal(err)
	}
	if err := tables.Neighbour(&found); err != nil {
		t.Fatal(err)
	}
	return found
}

// TestPeer sees a pod's own end of its device without entering the pod's network namespace.
func TestPeer(t *testing.T) {
	t.Parallel()
	pidFile := filepath.Join(t.TempDir(), "pid")
	tables := inNamespace(t, `
		unshare -n sleep 60 >/dev/null 2>&1 & pid=$!; while [ /proc/$pid/ns/net -ef /proc/self/ns/net ]; do :; done; ip link add cali1 type veth peer name eth0 address 02:00:00:00:00:77 netns $pid; nsenter -t $pid -n ip addr add 10.1.0.7/32 dev eth0; nsenter -t $pid -n ip link set eth0 up; echo $pid > `+pidFile+`
		ip link set cali1 up
		ip route add 10.1.0.7 dev cali1
	`)
	run := func(command string) {
		t.Helper()
		if out, err := exec.Command("bash", "-e", "-c", command).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	t.Cleanup(func() { run("kill $(cat " + pidFile + ")") })
	if got := lookUp(t, tables, "10.1.0.7"); !got.OutIsPod || got.PeerAddress != "02:00:00:00:00:77" || got.PeerDown || got.OutState != "" {
		t.Errorf("up: %+v", got)
	}
	run("nsenter -t $(cat " + pidFile + ") -n ip link set eth0 down")
	if got := lookUp(t, tables, "10.1.0.7"); !got.PeerDown || got.OutState != "without a carrier" {
		t.Errorf("down: %+v", got)
	}
	index, err := tables.LeadsTo(netip.MustParseAddr("10.1.0.7"))
	if err != nil {
		t.Fatal(err)
	}
	for address, want := range map[string]bool{"10.1.0.7": true, "10.1.0.8": false, "fd00::7": false} {
		if has, err := tables.PeerHas(index, netip.MustParseAddr(address)); has != want || err != nil {
			t.Errorf("it has %s: %v, %v", address, has, err)
		}
	}
}

// TestForwarding names the sysctl that keeps packets from going on, and why nobody answers for a pod's gateway.
func TestForwarding(t *testing.T) {
	t.Parallel()
	tables := inNamespace(t, `
		ip link add cali1 type veth peer name eth0
		ip link set cali1 up
		ip link set eth0 up
		ip addr add 172.30.0.11/24 dev eth0
		ip addr add fe80::7/64 dev eth0 nodad
		ip link add br0 type bridge
		ip link add veth2 type veth peer name eth2
		ip link set veth2 master br0 up
	`)
	set := func(value, sysctl string) {
		t.Helper()
		if out, err := exec.Command("bash", "-c", "echo "+value+" > /proc/sys/net/"+sysctl).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", sysctl, err, out)
		}
	}
	gateway := netip.AddrFrom4([4]byte{169, 254, 1, 1})
	four, six := Packet{Destination: gateway, Device: "cali1"}, Packet{Destination: netip.MustParseAddr("fd00::1"), Device: "cali1"}
	check := func(about, want4, want6, wantWhy string) {
		t.Helper()
		why, _ := tables.Gateway(tables.Routes(gateway), gateway, "cali1")
		if got4, got6 := tables.Forwarding(four), tables.Forwarding(six); got4 != want4 || got6 != want6 || why != wantWhy {
			t.Errorf("%s: %q, %q, %q", about, got4, got6, why)
		}
	}
	set("0", "ipv4/ip_forward")
	set("0", "ipv6/conf/all/forwarding")
	check("off", "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding", "net.ipv4.ip_forward is 0: a node that does not forward answers for nobody")
	set("1", "ipv4/ip_forward")
	set("1", "ipv6/conf/all/forwarding")
	check("no proxy", "", "", "net.ipv4.conf.cali1.proxy_arp is 0")
	set("1", "ipv4/conf/cali1/proxy_arp")
	check("no route", "", "", "this node has no route to 169.254.1.1 (no default route): without one it does not answer for it")
	if out, err := exec.Command("ip", "route", "add", "default", "via", "172.30.0.1").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	check("well", "", "", "")
	set("0", "ipv4/conf/cali1/forwarding")
	check("one device", "net.ipv4.conf.cali1.forwarding", "", "net.ipv4.conf.cali1.forwarding is 0: a node that does not forward answers for nobody")
	// All pods' devices have one MAC, and so one link-local address.
	if why, _ := tables.Gateway(tables.Routes(netip.MustParseAddr("fe80::7")), netip.MustParseAddr("fe80::7"), "cali1"); why != "cali1 does not have the address fe80::7" {
		t.Errorf("IPv6: %q", why)
	}
	if why, _ := tables.Gateway(tables.Routes(netip.MustParseAddr("10.1.0.1")), netip.MustParseAddr("10.1.0.1"), "veth2"); why != "no device of this node has the address 10.1.0.1, and veth2 is a port of br0" {
		t.Errorf("bridge: %q", why)
	}
}
