package lab

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// As Calico has it, all pods have the same gateways, which no device owns: the node's end of the veth answers
// ARP for the one by proxy, and the other is the link-local address that follows from that end's MAC.
var (
	podGateway  = netip.MustParseAddr("169.254.1.1")
	podGateway6 = netip.MustParseAddr("fe80::ecee:eeff:feee:eeee")
	caliMAC     = net.HardwareAddr{0xee, 0xee, 0xee, 0xee, 0xee, 0xee}
)

// makePod wires a pod to its node.
func (t *topology) makePod(pod Pod) error {
	if err := pod.Netns.setSysctls(everyNamespace); err != nil {
		return err
	}
	if err := t.makeHostSide(pod); err != nil {
		return fmt.Errorf("pod %s: node side: %w", pod.Name, err)
	}
	h, err := pod.Netns.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	link, err := bringUp(h, "eth0", host(pod.Address), host(pod.Address6))
	if err != nil {
		return fmt.Errorf("pod %s: %w", pod.Name, err)
	}
	index := link.Attrs().Index
	for _, route := range []*netlink.Route{
		{LinkIndex: index, Dst: ipNet(host(podGateway)), Scope: netlink.SCOPE_LINK},
		{LinkIndex: index, Gw: podGateway.AsSlice()},
		{LinkIndex: index, Gw: podGateway6.AsSlice()},
	} {
		if err := addRoute(h, route); err != nil {
			return fmt.Errorf("pod %s: %w", pod.Name, err)
		}
	}
	return nil
}

func (t *topology) makeHostSide(pod Pod) error {
	node := t.node(pod.Node)
	h, err := node.Netns.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	attrs := linkAttrs(pod.Device, t.overlayMTU())
	if t.Netkit {
		err = addNetkit(h, attrs, "eth0", pod.Netns)
	} else {
		attrs.HardwareAddr = caliMAC
		err = addVeth(h, attrs, "eth0", nil, pod.Netns)
	}
	if err != nil {
		return err
	}
	err = node.Netns.setSysctls([][2]string{
		{"ipv4/conf/" + pod.Device + "/proxy_arp", "1"},
		{"ipv4/neigh/" + pod.Device + "/proxy_delay", "0"}, // else a pod waits up to 0.8 s for its first answer
	})
	if err != nil {
		return err
	}
	link, err := bringUp(h, pod.Device)
	if err != nil {
		return err
	}
	for _, addr := range []netip.Addr{pod.Address, pod.Address6} {
		route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(host(addr)), Scope: netlink.SCOPE_LINK}
		if addr.Is6() {
			route.Scope = netlink.SCOPE_UNIVERSE // IPv6 knows no other
		}
		if err := addRoute(h, route); err != nil {
			return err
		}
	}
	return nil
}
