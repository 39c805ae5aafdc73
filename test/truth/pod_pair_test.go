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

// podPair is two pods on different nodes between which packets go over an overlay, there and back.
type podPair struct {
	name     string // "ipip, IPv4"
	overlay  string // the tunnel's device
	from, to lab.Pod
	server   netip.AddrPort

	dir string // with the logs of the traffic
}

// addPodPairs sets the pairs up that this kernel can have. Calico's overlay for IPv4 is ipip where the kernel has it, and
// IPv6 goes over vxlan; a second pair of pods uses vxlan with IPv4.
func (r *rig) addPodPairs() {
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
		r.addPodPair(&podPair{name: "ipip, IPv4", overlay: r.lab.OverlayDevice(), from: web, to: api}, api.Address)
	}
	r.addPodPair(&podPair{name: "vxlan, IPv4", overlay: vxlan, from: client, to: server}, server.Address)
	r.addPodPair(&podPair{name: "vxlan, IPv6", overlay: vxlan, from: client, to: server}, server.Address6)
}

func (r *rig) addPodPair(w *podPair, address netip.Addr) {
	w.server = netip.AddrPortFrom(address, uint16(firstPort+len(r.pairs)))
	r.pairs = append(r.pairs, w)
}

// vxlan is the pair over vxlan that every kernel can have.
func (r *rig) vxlan() *podPair {
	return r.pairs[slices.IndexFunc(r.pairs, func(w *podPair) bool { return w.name == "vxlan, IPv4" })]
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

// addNeighbours adds permanent neighbour entries everywhere. ARP requests would be in the qdiscs' counts of drops without
// being IP packets, and the first packets would wait for the answers.
func (r *rig) addNeighbours() {
	r.Helper()
	vxlan := r.pairs[len(r.pairs)-1].overlay
	for i := range r.nodes {
		here, there := r.lab.Node(i+1), r.lab.Node(2-i)
		r.setNeighbour(here.Netns, "eth0", r.mac(there.Netns, "eth0"), there.Address.String(), there.Address6.String())
		if r.lab.Overlay() == lab.IPIP { // else the lab has done so
			r.setNeighbour(here.Netns, vxlan, r.mac(there.Netns, vxlan), fmt.Sprintf("10.245.0.%d", 2-i), fmt.Sprintf("fd00:10:245::%d", 2-i))
		}
		for _, p := range r.lab.Pods() {
			if p.Node == here.Name {
				r.setNeighbour(here.Netns, p.Device, r.mac(p.Netns, "eth0"), p.Address.String(), p.Address6.String())
				r.setNeighbour(p.Netns, "eth0", r.mac(here.Netns, p.Device), "169.254.1.1", "fe80::ecee:eeff:feee:eeee")
			}
		}
	}
}

// setNeighbour makes permanent neighbour entries for addresses behind a device.
func (r *rig) setNeighbour(ns lab.Namespace, device string, mac net.HardwareAddr, addresses ...string) {
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

// traffic is the load of each pair. Each packet is known by its port as long as it is in flight. An overloaded emulated
// machine would measure only its own overload.
func (r *rig) traffic() load.Config {
	if r.emulated {
		return load.Config{Rate: 20, Size: 90, Sockets: 64}
	}
	return load.Config{Rate: 100, Size: 90, Sockets: 256}
}

// send drops what was recorded, and starts traffic.
func (r *rig) send(config load.Config, pairs ...*podPair) (stop func()) {
	r.Helper()
	for _, n := range r.nodes {
		n.reset()
	}
	return r.start(config, pairs...)
}

// start sends packets between pairs until it is stopped, or the test ends.
func (r *rig) start(config load.Config, pairs ...*podPair) (stop func()) {
	r.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 2*len(pairs))
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
	for _, w := range pairs {
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

// leg is one direction of a pair.
type leg struct {
	*podPair
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

func legs(pairs []*podPair) (all []leg) {
	for _, w := range pairs {
		all = append(all, leg{w, false}, leg{w, true})
	}
	return all
}

// sent and received are the leg's logs from a time on. What came was read first, so all of it was sent.
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
func (w *podPair) ports() (map[uint64]uint16, error) {
	calls, err := load.ReadLog(filepath.Join(w.dir, load.RequestsSent), 0)
	ports := make(map[uint64]uint16, len(calls))
	for _, e := range calls {
		ports[e.Seq] = e.Port
	}
	return ports, err
}
