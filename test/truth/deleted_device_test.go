package truth

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// spare are addresses that the lab does not use: one of a second device of the server, one behind a second overlay.
var spare = struct{ device, overlay netip.Addr }{netip.MustParseAddr("10.244.2.97"), netip.MustParseAddr("10.244.2.96")}

// slowQueue is a qdisc that sends a packet each second.
const slowQueue = "tbf rate 1kbit burst 1600 limit 100000"

// podDeleted deletes a pod's device while packets wait in its queue: each of them is dropped there.
func podDeleted(r *rig) {
	const device = "cali0truth97"
	w := r.pairs[0]
	here, pod := r.lab.Node(2).Netns, w.to.Netns
	r.ip(here, fmt.Sprintf("link add %s type veth peer name spare0 netns %s", device, pod))
	r.ip(pod, fmt.Sprintf("addr add %s/32 dev spare0", spare.device))
	r.ip(pod, "link set spare0 up")
	r.ip(here, "link set "+device+" up")
	r.ip(here, fmt.Sprintf("route add %s/32 dev %s", spare.device, device))
	r.setNeighbour(here, device, r.mac(pod, "spare0"), spare.device.String())
	r.tc(1, "qdisc add dev "+device+" root "+slowQueue)
	r.hooked(1, device)
	r.lostWithDevice(w, 1, spare.device, device, netdev.PodLabel, func() { r.ip(here, "link del "+device) })
}

// overlayRecreated deletes an overlay device while packets wait in its queue, and makes it again as CNIs do when they
// restart: the packets are dropped there, and later ones have whole journeys.
func overlayRecreated(r *rig) {
	const device = "vxlan.truth"
	w := r.pairs[0]
	address := fmt.Sprintf("%s/32 dev lo", spare.overlay)
	r.ip(w.to.Netns, "addr add "+address)
	r.Cleanup(func() { r.ip(w.to.Netns, "addr del "+address) })
	add := func(i int) {
		here, there := r.lab.Node(i+1), r.lab.Node(2-i)
		r.ip(here.Netns, fmt.Sprintf("link add %s mtu 1450 type vxlan id 4097 dstport 4790 local %s remote %s",
			device, here.Address, there.Address))
		r.ip(here.Netns, fmt.Sprintf("addr add 10.246.0.%d/24 dev %s", i+1, device))
		r.ip(here.Netns, "link set "+device+" up")
	}
	// All that one of the two must know of the other is its hardware address, which is another one each time.
	meet := func() {
		for i := range r.nodes {
			here, there := r.lab.Node(i+1).Netns, r.lab.Node(2-i).Netns
			r.setNeighbour(here, device, r.mac(there, device), fmt.Sprintf("10.246.0.%d", 2-i))
		}
		r.ip(r.lab.Node(1).Netns, fmt.Sprintf("route replace %s/32 via 10.246.0.2 dev %s", spare.overlay, device))
		for i := range r.nodes {
			r.hooked(i, device)
		}
	}
	there := r.lab.Node(2).Netns
	add(0)
	add(1)
	r.Cleanup(func() {
		for i := range r.nodes {
			r.ip(r.lab.Node(i+1).Netns, "link del "+device)
		}
	})
	route := fmt.Sprintf("%s/32 dev %s", spare.overlay, w.to.Device)
	r.ip(there, "route add "+route)
	r.setNeighbour(there, w.to.Device, r.mac(w.to.Netns, "eth0"), spare.overlay.String())
	r.Cleanup(func() {
		r.ip(there, fmt.Sprintf("neigh del %s dev %s", spare.overlay, w.to.Device))
		r.ip(there, "route del "+route)
	})
	meet()
	r.checkJourneys(w, device)
	r.tc(0, "qdisc add dev "+device+" root "+slowQueue)
	r.lostWithDevice(w, 0, spare.overlay, device, device, func() { r.ip(r.lab.Node(1).Netns, "link del "+device) })
	add(0)
	meet()
	r.checkJourneys(w, device)
}

// hooked waits until a device of a node has its hooks.
func (r *rig) hooked(node int, device string) {
	r.Helper()
	index := r.index(node, device)
	// A pod's new device is left alone for a while on kernels without TCX.
	r.eventually(30*time.Second, device+" is hooked", func() (bool, string) {
		up := 0
		hooks, _ := r.nodes[node].agent.Loader().Hooks()
		for _, h := range hooks {
			if h.Ifindex == index && h.Up {
				up++
			}
		}
		return up == 2, fmt.Sprintf("%d hooks", up)
	})
}

func (r *rig) index(node int, device string) int {
	r.Helper()
	index := 0
	r.eventually(10*time.Second, device+" is known", func() (bool, string) {
		for _, d := range r.nodes[node].agent.Devices() {
			if d.Name == device {
				index = d.Index
			}
		}
		return index != 0, ""
	})
	return index
}

// lostWithDevice sends packets into a slow queue, deletes the device with it by calling gone, and expects them as drops.
func (r *rig) lostWithDevice(w *podPair, node int, to netip.Addr, device, label string, gone func()) {
	r.Helper()
	const packets, size = 60, 100
	r.awaitDrops()
	before, index := r.queueDrops(node)[label], r.index(node, device)
	if err := sendTo(w, datagrams{to: netip.AddrPortFrom(to, dropPort), size: size, n: packets}); err != nil {
		r.Fatal(err)
	}
	held := 0
	r.eventually(20*time.Second, "packets wait at "+device, func() (bool, string) {
		held = 0
		open, err := r.nodes[node].agent.Loader().OpenJourneys()
		if err != nil {
			r.Fatal(err)
		}
		for i := range open {
			path := open[i].Passed()
			if last := path[len(path)-1]; last.Hook == record.Egress && last.Ifindex == index {
				held++
			}
		}
		return held > packets/2, fmt.Sprintf("%d of %d", held, packets)
	})
	gone()
	// One goes each second meanwhile.
	r.eventually(20*time.Second, "packets lost with "+device, func() (bool, string) {
		lost := r.queueDrops(node)[label] - before
		return lost+5 >= uint64(held) && lost <= packets, fmt.Sprintf("%d counted, %d waited", lost, held)
	})
	fmt.Printf("gone\t%s\t%s\t%d\t%d\n", r.kernel, device, held, r.queueDrops(node)[label]-before)
}

// checkJourneys checks that packets over a device have whole journeys on both nodes.
func (r *rig) checkJourneys(w *podPair, device string) {
	r.Helper()
	const packets = 10
	for _, n := range r.nodes {
		n.reset()
	}
	if err := sendTo(w, datagrams{to: netip.AddrPortFrom(spare.overlay, uint16(firstPort)), size: 100, n: packets}); err != nil {
		r.Fatal(err)
	}
	want := [2]string{
		fmt.Sprint("ingress ", w.from.Device, " egress ", device, " xmit ", device, " egress eth0 xmit eth0"),
		fmt.Sprint("ingress eth0 ingress ", device, " egress ", w.to.Device, " xmit ", w.to.Device),
	}
	r.eventually(20*time.Second, "journeys by "+device, func() (bool, string) {
		var whole [2]int
		last := ""
		for i, n := range r.nodes {
			names := map[int]string{}
			for _, d := range n.agent.Devices() {
				names[d.Index] = d.Name
			}
			for _, one := range n.take() {
				if one.First.Destination.Addr() != spare.overlay || one.Kind != record.Finished {
					continue
				}
				var way []string
				for _, h := range one.Passed() {
					way = append(way, h.Hook.String(), names[h.Ifindex])
				}
				if last = strings.Join(way, " "); last == want[i] {
					whole[i]++
				}
			}
		}
		return whole == [2]int{packets, packets}, fmt.Sprintf("%v of %d on each node, the last %s", whole, packets, last)
	})
}
