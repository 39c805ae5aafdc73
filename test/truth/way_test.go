package truth

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tracer/internal/lab"
	"tracer/internal/lab/load"
)

// way is one on which packets go from a pod to another and back.
type way struct {
	name     string // "ipip, IPv4"
	overlay  string // the tunnel's device
	from, to lab.Pod
	server   netip.AddrPort

	dir string // with the logs of the traffic
}

// addWays lists the ways that this kernel has. Calico's overlay for IPv4 is ipip where there is ipip, and IPv6 goes by
// vxlan; a second pair of pods goes by vxlan with IPv4.
func (r *rig) addWays() {
	pod := func(name string) lab.Pod {
		p, ok := r.lab.Pod(name)
		if !ok {
			r.Fatalf("the lab has no pod %s", name)
		}
		return p
	}
	web, api, client, server := pod(lab.Web), pod(lab.API), pod("client"), pod("server")
	const vxlan = "vxlan.calico"
	if r.lab.Overlay() == lab.IPIP {
		r.addVXLAN(vxlan, client, server)
		r.addWay(&way{name: "ipip, IPv4", overlay: r.lab.OverlayDevice(), from: web, to: api}, api.Address)
	}
	r.addWay(&way{name: "vxlan, IPv4", overlay: vxlan, from: client, to: server}, server.Address)
	r.addWay(&way{name: "vxlan, IPv6", overlay: vxlan, from: client, to: server}, server.Address6)
}

func (r *rig) addWay(w *way, address netip.Addr) {
	w.server = netip.AddrPortFrom(address, uint16(firstPort+len(r.ways)))
	r.ways = append(r.ways, w)
}

// vxlan is the way by vxlan that every kernel has.
func (r *rig) vxlan() *way {
	return r.ways[slices.IndexFunc(r.ways, func(w *way) bool { return w.name == "vxlan, IPv4" })]
}

// addVXLAN gives an ipip lab a second overlay, for IPv6 and for two pods' IPv4.
func (r *rig) addVXLAN(name string, client, server lab.Pod) {
	pods := [2]lab.Pod{client, server}
	for i := range r.nodes {
		here, there := r.lab.Node(i+1), r.lab.Node(2-i)
		vtep := func(i int) string { return fmt.Sprintf("10.245.0.%d", i+1) }
		vtep6 := func(i int) string { return fmt.Sprintf("fd00:10:245::%d", i+1) }
		for _, args := range []string{
			fmt.Sprintf("link add %s mtu 1450 type vxlan id 4096 dstport 4789 dev eth0 local %s remote %s", name, here.Address, there.Address),
			fmt.Sprintf("addr add %s/24 dev %s", vtep(i), name),
			fmt.Sprintf("-6 addr add %s/64 dev %s nodad", vtep6(i), name),
			fmt.Sprintf("link set %s up", name),
			fmt.Sprintf("route add %s/32 via %s dev %s", pods[1-i].Address, vtep(1-i), name),
			fmt.Sprintf("-6 route replace %s via %s dev %s", there.Pods6, vtep6(1-i), name),
		} {
			r.ip(here.Netns, args)
		}
	}
	for _, p := range pods { // as IPv4's are made by the lab with tunl0's MTU
		r.ip(p.Netns, "link set eth0 mtu 1450")
	}
}

// settle tells everybody the addresses of their neighbours for good. Questions for them would be in the queues' counts
// of drops, and are no IP packets; and the first packets would wait for the answers.
func (r *rig) settle() {
	r.Helper()
	vxlan := r.ways[len(r.ways)-1].overlay
	for i := range r.nodes {
		here, there := r.lab.Node(i+1), r.lab.Node(2-i)
		r.know(here.Netns, "eth0", r.mac(there.Netns, "eth0"), there.Address.String(), there.Address6.String())
		if r.lab.Overlay() == lab.IPIP { // else the lab has done so
			r.know(here.Netns, vxlan, r.mac(there.Netns, vxlan), fmt.Sprintf("10.245.0.%d", 2-i), fmt.Sprintf("fd00:10:245::%d", 2-i))
		}
		for _, p := range r.lab.Pods() {
			if p.Node == here.Name {
				r.know(here.Netns, p.Device, r.mac(p.Netns, "eth0"), p.Address.String(), p.Address6.String())
				r.know(p.Netns, "eth0", r.mac(here.Netns, p.Device), "169.254.1.1", "fe80::ecee:eeff:feee:eeee")
			}
		}
	}
}

// know tells a namespace for good who has these addresses behind a device.
func (r *rig) know(ns lab.Namespace, device string, mac net.HardwareAddr, addresses ...string) {
	r.Helper()
	for _, a := range addresses {
		r.ip(ns, fmt.Sprintf("neigh replace %s lladdr %s dev %s nud permanent", a, mac, device))
	}
}

func (r *rig) mac(ns lab.Namespace, device string) net.HardwareAddr {
	r.Helper()
	return r.device(ns, device).HardwareAddr
}

func (r *rig) device(ns lab.Namespace, name string) (device *net.Interface) {
	r.Helper()
	err := ns.Do(func() (err error) {
		device, err = net.InterfaceByName(name)
		return err
	})
	if err != nil {
		r.Fatal(err)
	}
	return device
}

// traffic is how much goes on each way. Each packet is known by its port as long as it is on its way. An emulated
// machine that has more to do than it can measures only that.
func (r *rig) traffic() load.Config {
	if r.emulated {
		return load.Config{Rate: 20, Size: 90, Sockets: 64}
	}
	return load.Config{Rate: 100, Size: 90, Sockets: 256}
}

// send forgets what was recorded, and starts traffic.
func (r *rig) send(config load.Config, ways ...*way) (stop func()) {
	r.Helper()
	for _, n := range r.nodes {
		n.reset()
	}
	return r.start(config, ways...)
}

// start lets packets go on ways until it is stopped, or the test ends.
func (r *rig) start(config load.Config, ways ...*way) (stop func()) {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2*len(ways))
	started := 0
	stop = sync.OnceFunc(func() {
		cancel()
		for range started {
			if err := <-ended; err != nil {
				r.Error(err)
			}
		}
	})
	r.Cleanup(stop)
	for _, w := range ways {
		w.dir = r.TempDir()
		server := &load.Server{Dir: w.dir, Clock: load.Monotonic}
		err := w.to.Do(func() (err error) {
			if server.UDP, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(w.server)); err != nil {
				return err
			}
			server.TCP, err = net.Listen("tcp", w.server.String())
			return err
		})
		if err != nil {
			r.Fatal(err)
		}
		client := &load.Client{Config: config, Dir: w.dir, Clock: load.Monotonic}
		client.Dial = func(_ context.Context, network string) (conn net.Conn, err error) {
			err = w.from.Do(func() (err error) {
				conn, err = net.Dial(network, w.server.String())
				return err
			})
			return conn, err
		}
		started += 2
		go func() { ended <- server.Serve(ctx) }()
		go func() { ended <- client.Run(ctx) }()
	}
	return stop
}

// leg is one direction of a way.
type leg struct {
	*way
	back bool // the answers'
}

func (l leg) String() string {
	if l.back {
		return l.name + ", back"
	}
	return l.name
}

// outbound is the index of the node that the leg's packets leave.
func (l leg) outbound() int {
	if l.back {
		return 1
	}
	return 0
}

// receiver is the device in front of the pod that the leg's packets go to.
func (l leg) receiver() string {
	if l.back {
		return l.from.Device
	}
	return l.to.Device
}

func legs(ways []*way) (all []leg) {
	for _, w := range ways {
		all = append(all, leg{w, false}, leg{w, true})
	}
	return all
}

// sent and received are the leg's logs from a moment on. What came was read first, so all of it was sent.
func (l leg) logs(from time.Duration) (sent, received []load.Entry, err error) {
	names := [2]string{load.RequestsSent, load.Requests}
	if l.back {
		names = [2]string{load.ResponsesSent, load.Responses}
	}
	received, err = load.ReadLog(filepath.Join(l.dir, names[1]), from)
	sent, sentErr := load.ReadLog(filepath.Join(l.dir, names[0]), from)
	return sent, received, errors.Join(err, sentErr)
}

// ports are those of the calls, by their number.
func (w *way) ports() (map[uint64]uint16, error) {
	calls, err := load.ReadLog(filepath.Join(w.dir, load.RequestsSent), 0)
	ports := make(map[uint64]uint16, len(calls))
	for _, e := range calls {
		ports[e.Seq] = e.Port
	}
	return ports, err
}
