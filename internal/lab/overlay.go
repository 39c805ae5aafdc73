package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Calico's numbers.
const (
	vxlanID   = 4096
	vxlanPort = 4789
)

// chooseOverlay resolves Auto: it tries whether the kernel has ipip, in a node's namespace.
func (t *topology) chooseOverlay() error {
	if t.Overlay != Auto && t.Overlay != IPIP {
		return nil
	}
	h, err := t.nodesHere()[0].Netns.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	_, err = addTunl(h)
	switch {
	case err == nil:
		t.Overlay = IPIP
	case t.Overlay == IPIP:
		return fmt.Errorf("this kernel has no ipip: load its module or choose overlay vxlan: %w", err)
	default:
		t.Overlay = VXLAN
	}
	return nil
}

// makeOverlay builds a node's overlay device with routes to all the other nodes' pods. The lab must know all
// nodes by now, but needs none of their devices.
func (t *topology) makeOverlay(node Node) error {
	h, err := node.Netns.handle()
	if err != nil {
		return err
	}
	defer h.Close()
	uplink, err := h.LinkByName(t.Uplink)
	if err != nil {
		return fmt.Errorf("%s: find %s: %w", node.Name, t.Uplink, err)
	}
	switch t.Overlay {
	case IPIP:
		err = t.makeIPIP(h, node, uplink)
	case WireGuard:
		err = t.makeWireGuard(h, node)
	case Native:
		err = t.makeNative(h, node, uplink)
	default:
		err = t.makeVXLAN(h, node, uplink)
	}
	if err != nil {
		return fmt.Errorf("%s: %s: %w", node.Name, t.overlayDevice(), err)
	}
	return nil
}

// addTunl returns tunl0, which the module makes by itself in most kernels' namespaces.
func addTunl(h *netlink.Handle) (netlink.Link, error) {
	if link, err := h.LinkByName("tunl0"); err == nil {
		return link, nil
	}
	loadModule("ipip")
	err := h.LinkAdd(&netlink.Iptun{LinkAttrs: linkAttrs("tunl0", 0), PMtuDisc: 1})
	if err != nil && !errors.Is(err, unix.EEXIST) { // it came with the module, just now
		return nil, fmt.Errorf("add tunl0: %w", err)
	}
	return h.LinkByName("tunl0")
}

// makeIPIP carries IPv4. IPIP has no room for IPv6, which goes from node to node without an overlay.
func (t *topology) makeIPIP(h *netlink.Handle, node Node, uplink netlink.Link) error {
	link, err := addTunl(h)
	if err != nil {
		return err
	}
	if err := h.LinkSetMTU(link, t.overlayMTU()); err != nil {
		return fmt.Errorf("set mtu: %w", err)
	}
	// It came with the namespace, with the machine's own default.
	if err := node.Netns.setSysctls([][2]string{{"ipv4/conf/tunl0/rp_filter", "0"}}); err != nil {
		return err
	}
	if link, err = bringUp(h, "tunl0", host(node.Tunnel)); err != nil {
		return err
	}
	for _, peer := range t.peers(node) {
		err := errors.Join(
			addRoute(h, onlink(link, peer.Pods, peer.Address)),
			addRoute(h, via(uplink, peer.Pods6, peer.Address6)))
		if err != nil {
			return err
		}
	}
	return nil
}

// makeNative has nodes know each other's pods.
func (t *topology) makeNative(h *netlink.Handle, node Node, uplink netlink.Link) error {
	for _, peer := range t.peers(node) {
		err := errors.Join(
			addRoute(h, via(uplink, peer.Pods, peer.Address)),
			addRoute(h, via(uplink, peer.Pods6, peer.Address6)))
		if err != nil {
			return err
		}
	}
	return nil
}

func via(link netlink.Link, to netip.Prefix, gateway netip.Addr) *netlink.Route {
	return &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: gateway.AsSlice()}
}

// makeCollectMetadata builds a device for all tunnels: the programs that send packets there say where to (see routeInBPF).
func (t *topology) makeCollectMetadata(h *netlink.Handle) error {
	err := h.LinkAdd(&netlink.Vxlan{LinkAttrs: linkAttrs(t.overlayDevice(), t.overlayMTU()), FlowBased: true, Port: vxlanPort})
	if err != nil {
		return fmt.Errorf("add: %w", err)
	}
	_, err = bringUp(h, t.overlayDevice())
	return err
}

// makeVXLAN builds what Calico's Felix does: a device that learns nothing, and for each peer a route to its
// device, that device's MAC, and the node where the MAC lives.
func (t *topology) makeVXLAN(h *netlink.Handle, node Node, uplink netlink.Link) error {
	if t.HostRouting {
		return t.makeCollectMetadata(h)
	}
	attrs := linkAttrs(t.overlayDevice(), t.overlayMTU())
	attrs.HardwareAddr = vtepMAC(node)
	err := h.LinkAdd(&netlink.Vxlan{
		LinkAttrs:    attrs,
		VxlanId:      vxlanID,
		Port:         vxlanPort,
		VtepDevIndex: uplink.Attrs().Index,
		SrcAddr:      node.Address.AsSlice(),
		Learning:     false,
	})
	if err != nil {
		return fmt.Errorf("add: %w", err)
	}
	link, err := bringUp(h, t.overlayDevice(), host(node.Tunnel), host(node.Tunnel6))
	if err != nil {
		return err
	}
	for _, peer := range t.peers(node) {
		fdb := &netlink.Neigh{
			LinkIndex: link.Attrs().Index, Family: unix.AF_BRIDGE, Flags: netlink.NTF_SELF,
			State: netlink.NUD_PERMANENT | netlink.NUD_NOARP, HardwareAddr: vtepMAC(peer), IP: peer.Address.AsSlice(),
		}
		if err := h.NeighSet(fdb); err != nil {
			return fmt.Errorf("add forwarding entry of %s: %w", peer.Name, err)
		}
		for _, end := range []struct {
			vtep netip.Addr
			pods netip.Prefix
		}{{peer.Tunnel, peer.Pods}, {peer.Tunnel6, peer.Pods6}} {
			neigh := &netlink.Neigh{
				LinkIndex: link.Attrs().Index, State: netlink.NUD_PERMANENT,
				HardwareAddr: vtepMAC(peer), IP: end.vtep.AsSlice(),
			}
			if err := h.NeighSet(neigh); err != nil {
				return fmt.Errorf("add neighbour %s: %w", end.vtep, err)
			}
			if err := addRoute(h, onlink(link, end.pods, end.vtep)); err != nil {
				return err
			}
		}
	}
	return nil
}

func onlink(link netlink.Link, to netip.Prefix, via netip.Addr) *netlink.Route {
	return &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(to), Gw: via.AsSlice(), Flags: int(netlink.FLAG_ONLINK),
	}
}

func (t *topology) peers(node Node) []Node {
	var peers []Node
	for _, n := range t.Nodes {
		if n.Name != node.Name {
			peers = append(peers, n)
		}
	}
	return peers
}

// loadModule helps where the kernel would not load a module by itself. Where there is no modprobe everything is
// built in, or the attempt that follows says what is missing.
func loadModule(name string) {
	const modprobe = "/sbin/modprobe"
	if _, err := os.Stat(modprobe); err == nil {
		_ = exec.Command(modprobe, "-q", name).Run()
	}
}
