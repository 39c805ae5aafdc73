package agent

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"tracer/internal/governor"
	"tracer/internal/lab"
	"tracer/internal/loader"
	"tracer/internal/record"
	"tracer/test/steady"
)

// wayOut is a device by which a node's packets reach another: how both nodes make it, "HERE" and "THERE" being the
// ends of their wire, and what goes through it.
type wayOut struct {
	name, make string
	ipv6       bool   // goes through it
	tunnel     bool   // what leaves is encapsulated
	lower      string // the card that packets leave by
	hidden     bool   // is not looked into: packets end there, and begin
	number     int    // of its network, among those of the test
	// set, if it is there, does what is to be done beside `ip link add`, or in its place. It takes "HERE" and "THERE" too.
	set func(p *pairOfNodes, node int, ns lab.Namespace, ends *strings.Replacer) error
}

var waysOut = []wayOut{
	{name: "vxlan1", make: "type vxlan id 9 remote THERE dstport 4789", tunnel: true},
	{name: "geneve1", make: "type geneve id 7 remote THERE", tunnel: true},
	{name: "ipip1", make: "type ipip local HERE remote THERE", tunnel: true},
	{name: "gre1", make: "type gre local HERE remote THERE", tunnel: true},
	{name: "gre2", make: "type gre local HERE remote THERE key 5 icsum ocsum iseq oseq", tunnel: true},
	{name: "gretap1", make: "type gretap local HERE remote THERE key 6", tunnel: true},
	{name: "sit1", make: "type sit local HERE remote THERE", ipv6: true, tunnel: true},
	{name: "ip6tnl1", make: "type ip6tnl local HERE6 remote THERE6 mode any", tunnel: true},
	{name: "ip6gre1", make: "type ip6gre local HERE6 remote THERE6", tunnel: true},
	{name: "vlan1", make: "link eth0 type vlan id 5"},
	{name: "bond0", make: "type bond mode active-backup", lower: "eth1"},
	{name: "wg1", make: "type wireguard", hidden: true, set: setWireGuard},
	{name: "macsec1", make: "link eth0 type macsec encrypt on", hidden: true, set: setMACsec},
	{name: "tun1", hidden: true, set: setTun},
	{name: "xfrm1", make: "type xfrm dev eth0 if_id 5", hidden: true, set: setXfrm},
	{name: "erspan1", make: "type erspan seq key 8 local HERE remote THERE erspan_ver 1 erspan 1", hidden: true},
	{name: "l2tp1", hidden: true, set: setL2TP},
}

// pairOfNodes is two nodes, a pod on the first, and a way out of each kind that this kernel has.
type pairOfNodes struct {
	*testing.T
	pod, near, far lab.Namespace
	ways           []wayOut
	tuns           []*os.File // the programs' ends of the tun devices that are there
}

func (p *pairOfNodes) ip(ns lab.Namespace, args string) {
	p.Helper()
	if err := ip(ns, args); err != nil {
		p.Fatal(err)
	}
}

func ip(ns lab.Namespace, args string) error {
	if out, err := exec.Command("ip", append([]string{"-n", string(ns)}, strings.Fields(args)...)...).CombinedOutput(); err != nil {
		return noSuchKind(fmt.Errorf("ip -n %s %s: %w: %s", ns, args, err, out))
	}
	return nil
}

func addNamespace(ns lab.Namespace) error {
	if out, err := exec.Command("ip", "netns", "add", string(ns)).CombinedOutput(); err != nil {
		return fmt.Errorf("ip netns add %s: %w: %s", ns, err, out)
	}
	return nil
}

func newPairOfNodes(t *testing.T, ways ...wayOut) *pairOfNodes {
	t.Helper()
	steady.Watch(t)
	h := fnv.New32a()
	fmt.Fprint(h, t.Name(), os.Getpid())
	name := func(role string) lab.Namespace { return lab.Namespace(fmt.Sprintf("tw%x-%s", h.Sum32(), role)) }
	p := &pairOfNodes{T: t, pod: name("pod"), near: name("near"), far: name("far")}
	for _, ns := range []lab.Namespace{p.pod, p.near, p.far} {
		if err := addNamespace(ns); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := netns.DeleteNamed(string(ns)); err != nil {
				t.Errorf("delete network namespace %s: %v", ns, err)
			}
		})
		if err := ns.Do(forwards); err != nil {
			t.Fatal(err)
		}
	}
	for _, args := range []string{
		"link add cali0123456789a type veth peer name eth0 netns " + string(p.pod),
		"link add eth0 type veth peer name eth0 netns " + string(p.far),
		"link add eth1 type veth peer name eth1 netns " + string(p.far),
		"addr add 10.9.1.1/32 dev cali0123456789a", "link set cali0123456789a up", "route add 10.9.1.2 dev cali0123456789a",
		"-6 addr add fd09:1::1/128 dev cali0123456789a nodad", "-6 route add fd09:1::2 dev cali0123456789a",
	} {
		p.ip(p.near, args)
	}
	for _, args := range []string{
		"addr add 10.9.1.2/32 dev eth0", "-6 addr add fd09:1::2/128 dev eth0 nodad", "link set eth0 up",
		"route add default via 10.9.1.1 dev eth0 onlink", "-6 route add default via fd09:1::1 dev eth0 onlink",
	} {
		p.ip(p.pod, args)
	}
	for i, ns := range []lab.Namespace{p.near, p.far} {
		p.ip(ns, fmt.Sprintf("link set eth0 address 02:00:00:00:09:0%d", i+1))
		p.ip(ns, fmt.Sprintf("addr add 10.9.0.%d/24 dev eth0", i+1))
		p.ip(ns, fmt.Sprintf("-6 addr add fd09::%d/64 dev eth0 nodad", i+1))
		p.ip(ns, "link set eth0 up")
		p.ip(ns, "link set eth1 mtu 1500")
	}
	for i, w := range ways {
		w.number = 10 + i
		if p.add(w) {
			p.ways = append(p.ways, w)
		}
	}
	return p
}

// forwards makes the calling thread's network namespace a router that takes what comes.
func forwards() error {
	var errs []error
	for _, file := range []string{"ipv4/ip_forward", "ipv6/conf/all/forwarding"} {
		errs = append(errs, os.WriteFile("/proc/sys/net/"+file, []byte("1"), 0))
	}
	for _, file := range []string{"ipv4/conf/all/rp_filter", "ipv4/conf/default/rp_filter"} {
		errs = append(errs, os.WriteFile("/proc/sys/net/"+file, []byte("0"), 0))
	}
	return errors.Join(errs...)
}

// endsOf puts a node's addresses and the other's, by the wire between them, in place of their names.
func endsOf(node int) *strings.Replacer {
	return strings.NewReplacer(
		"HERE6", fmt.Sprintf("fd09::%d", node+1), "THERE6", fmt.Sprintf("fd09::%d", 2-node),
		"HERE", fmt.Sprintf("10.9.0.%d", node+1), "THERE", fmt.Sprintf("10.9.0.%d", 2-node))
}

// add makes a way out on both nodes; false if this kernel has no such device.
func (p *pairOfNodes) add(w wayOut) bool {
	p.Helper()
	for node, ns := range []lab.Namespace{p.near, p.far} {
		ends := endsOf(node)
		kind, parent := ends.Replace(w.make), ""
		if strings.HasPrefix(kind, "link ") {
			words := strings.Fields(kind)
			parent, kind = "link "+words[1]+" ", strings.Join(words[2:], " ")
		}
		var err error
		if w.make != "" {
			err = ip(ns, "link add "+parent+"name "+w.name+" "+kind)
		}
		if err == nil && w.set != nil {
			err = w.set(p, node, ns, ends)
		}
		if errors.Is(err, errNoSuchKind) {
			return false
		} else if err != nil {
			p.Fatal(err)
		}
		if w.lower != "" {
			p.ip(ns, "link set "+w.lower+" master "+w.name)
			p.ip(ns, "link set "+w.lower+" up")
		}
		p.ip(ns, "link set "+w.name+" up")
		p.ip(ns, fmt.Sprintf("addr add 10.9.%d.%d/24 dev %s", w.number, node+1, w.name))
		p.ip(ns, fmt.Sprintf("-6 addr add fd09:%d::%d/64 dev %s nodad", w.number, node+1, w.name))
	}
	return true
}

// ends are the far node's address on a way, and the pod's.
func (p *pairOfNodes) ends(w wayOut) (far, pod string) {
	if w.ipv6 {
		return fmt.Sprintf("[fd09:%d::2]:9", w.number), "[fd09:1::2]:9"
	}
	return fmt.Sprintf("10.9.%d.2:9", w.number), "10.9.1.2:9"
}

// TestDevices follows a pod's packets out and back in by tunnels of each kind, by a VLAN and by a bond; at tunnels that are not
// looked into they end and begin. This machine has to have vxlan; an emulated one has them all.
func TestDevices(t *testing.T) {
	t.Parallel()
	p := newPairOfNodes(t, waysOut...)
	if len(p.ways) < len(waysOut) {
		p.mustBeHost()
	}
	if len(p.ways) == 0 {
		t.Fatal("this kernel has none of the devices")
	}
	a, device := p.trace()
	for _, w := range p.ways {
		far, pod := p.ends(w)
		p.route(w)
		lower := w.lower
		if lower == "" {
			lower = "eth0"
		}
		out, in := "ingress cali0123456789a, egress "+w.name+", xmit "+w.name, "ingress "+w.name+", egress cali0123456789a, xmit cali0123456789a"
		if !w.hidden {
			out, in = out+", egress "+lower+", xmit "+lower, "ingress "+lower+", "+in
		}
		p.follow(a, device, w, "out", p.pod, far, out)
		p.follow(a, device, w, "in", p.far, pod, in)
	}
}

// mustBeHost fails in an emulated machine, whose kernel has all that is asked for.
func (p *pairOfNodes) mustBeHost() {
	p.Helper()
	info, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		p.Fatal(err)
	}
	if strings.Contains(string(info), "QEMU TCG") {
		p.Fatal("this kernel lacks what a guest's has")
	}
}

// trace starts an agent on the near node, until the test ends. It returns it with the names of its devices.
func (p *pairOfNodes) trace() (a *Agent, device map[int]string) {
	p.Helper()
	err := p.near.Do(func() (err error) {
		a, err = Start(Options{Loader: loader.Options{Dir: p.TempDir(), Kernel: &kernel}, Namer: names{}, Limits: governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3}})
		return err
	})
	if err != nil {
		p.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	p.Cleanup(func() {
		stop()
		if err := errors.Join(<-ended, a.Close()); err != nil {
			p.Error(err)
		}
	})
	device = map[int]string{}
	for _, d := range a.Devices() {
		device[d.Index] = d.Name
	}
	return a, device
}

// route makes the far node answer by this way.
func (p *pairOfNodes) route(w wayOut) {
	p.Helper()
	near := func(address string) string { host, _, _ := net.SplitHostPort(address); return host[:len(host)-1] + "1" }
	far, pod := p.ends(w)
	host, _, _ := net.SplitHostPort(pod)
	family := "-4"
	if w.ipv6 {
		family = "-6"
	}
	p.ip(p.far, family+" route replace "+host+" via "+near(far)+" dev "+w.name)
}

// follow sends datagrams and checks the journey of each.
func (p *pairOfNodes) follow(a *Agent, device map[int]string, w wayOut, direction string, from lab.Namespace, to, want string) {
	const packets = 5
	p.Run(w.name+" "+direction, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		records, _ := a.Subscribe(ctx, func(r *record.Record) bool {
			return r.Kind == record.Finished && r.First.Destination.String() == to
		})
		err := from.Do(func() error {
			conn, err := net.Dial("udp", to)
			if err != nil {
				return err
			}
			defer conn.Close()
			for i := 0; i < packets; {
				// The answer to the one before may be an error, and nothing sent; neighbours are asked for first.
				if _, err := fmt.Fprintf(conn, "datagram %d by %s", i, w.name); err == nil {
					i++
				}
				time.Sleep(20 * time.Millisecond)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for i := range packets {
			r, ok := <-records
			if !ok {
				counters, err := a.loader.Counters()
				t.Fatalf("of %d datagrams %d were followed to their end; counters %+v, %v", packets, i, counters, err)
			}
			var hooks []string
			for _, h := range r.Passed() {
				if h.Hook == record.Dequeue {
					continue // some devices have a queue by default on some kernels
				}
				hooks = append(hooks, h.Hook.String()+" "+device[h.Ifindex])
			}
			if got := strings.Join(hooks, ", "); got != want {
				t.Errorf("datagram %d: %s; want %s", i, got, want)
			}
			if r.Encapsulated != w.tunnel {
				t.Errorf("datagram %d: encapsulated %v", i, r.Encapsulated)
			}
		}
	})
}
