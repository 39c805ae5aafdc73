package lab

import (
	"crypto/ecdh"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// wireguardPort is Calico's.
const wireguardPort = 51820

// WireGuardPeer is another end of a WireGuard device.
type WireGuardPeer struct {
	Name     string         // as SetWireGuard got it there: its key follows from it
	Endpoint netip.AddrPort // where it listens
	Allowed  []netip.Prefix // what is behind it
}

// SetWireGuard gives a WireGuard device of the calling thread's network namespace its port, its peers, and the key that
// follows from its name: whoever knows a name has the key.
func SetWireGuard(device, name string, port uint16, peers []WireGuardPeer) error {
	family, err := netlink.GenlFamilyGet("wireguard")
	if err != nil {
		return fmt.Errorf("find the kernel's wireguard: %w", err)
	}
	key, err := wireguardKey(name)
	if err != nil {
		return err
	}
	// include/uapi/linux/wireguard.h
	const (
		setDevice  = 1
		version    = 1
		ifname     = 2
		privateKey = 3
		listenPort = 6
		allPeers   = 8
	)
	request := nl.NewNetlinkRequest(int(family.ID), unix.NLM_F_ACK)
	header := [2]nl.Genlmsg{{Command: setDevice, Version: version}} // four bytes, of which the type has two
	request.AddData(&header[0])
	request.AddData(nl.NewRtAttr(ifname, nl.ZeroTerminated(device)))
	request.AddData(nl.NewRtAttr(privateKey, key.Bytes()))
	request.AddData(nl.NewRtAttr(listenPort, nl.Uint16Attr(port)))
	list := nl.NewRtAttr(allPeers|unix.NLA_F_NESTED, nil)
	for _, peer := range peers {
		if err := peer.addTo(list); err != nil {
			return err
		}
	}
	request.AddData(list)
	if _, err := request.Execute(unix.NETLINK_GENERIC, 0); err != nil {
		return fmt.Errorf("set keys and peers of %s: %w", device, err)
	}
	return nil
}

func (p *WireGuardPeer) addTo(list *nl.RtAttr) error {
	key, err := wireguardKey(p.Name)
	if err != nil {
		return err
	}
	if !p.Endpoint.Addr().Is4() {
		return errors.New("a peer's endpoint is to have an IPv4 address")
	}
	const (
		publicKey  = 1
		endpoint   = 4
		allowedIPs = 9
		family     = 1
		address    = 2
		bits       = 3
	)
	socket := make([]byte, unix.SizeofSockaddrInet4)
	binary.NativeEndian.PutUint16(socket, unix.AF_INET)
	binary.BigEndian.PutUint16(socket[2:], p.Endpoint.Port())
	copy(socket[4:], p.Endpoint.Addr().AsSlice())
	peer := list.AddRtAttr(unix.NLA_F_NESTED, nil)
	peer.AddRtAttr(publicKey, key.PublicKey().Bytes())
	peer.AddRtAttr(endpoint, socket)
	allowed := peer.AddRtAttr(allowedIPs|unix.NLA_F_NESTED, nil)
	for _, prefix := range p.Allowed {
		one := allowed.AddRtAttr(unix.NLA_F_NESTED, nil)
		kind := uint16(unix.AF_INET)
		if prefix.Addr().Is6() {
			kind = unix.AF_INET6
		}
		one.AddRtAttr(family, nl.Uint16Attr(kind))
		one.AddRtAttr(address, prefix.Addr().AsSlice())
		one.AddRtAttr(bits, nl.Uint8Attr(uint8(prefix.Bits())))
	}
	return nil
}

func wireguardKey(name string) (*ecdh.PrivateKey, error) {
	sum := sha256.Sum256([]byte(name))
	key, err := ecdh.X25519().NewPrivateKey(sum[:])
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// makeWireGuard builds what Calico does where encryption is on: one device, to which all peers belong.
func (t *topology) makeWireGuard(h *netlink.Handle, node Node) error {
	loadModule("wireguard")
	if err := h.LinkAdd(&netlink.Wireguard{LinkAttrs: linkAttrs(t.overlayDevice(), t.overlayMTU())}); err != nil {
		return fmt.Errorf("add: %w", err)
	}
	var peers []WireGuardPeer
	for _, peer := range t.peers(node) {
		peers = append(peers, WireGuardPeer{
			Name: string(peer.Netns), Endpoint: netip.AddrPortFrom(peer.Address, wireguardPort),
			Allowed: []netip.Prefix{peer.Pods, peer.Pods6, host(peer.Tunnel), host(peer.Tunnel6)},
		})
	}
	err := node.Netns.Do(func() error {
		return SetWireGuard(t.overlayDevice(), string(node.Netns), wireguardPort, peers)
	})
	if err != nil {
		return err
	}
	link, err := bringUp(h, t.overlayDevice(), host(node.Tunnel), host(node.Tunnel6))
	if err != nil {
		return err
	}
	for _, peer := range t.peers(node) {
		for _, to := range []netip.Prefix{peer.Pods, peer.Pods6} {
			route := &netlink.Route{LinkIndex: link.Attrs().Index, Dst: ipNet(to), Scope: netlink.SCOPE_LINK}
			if to.Addr().Is6() {
				route.Scope = netlink.SCOPE_UNIVERSE // IPv6 knows no other
			}
			if err := addRoute(h, route); err != nil {
				return err
			}
		}
	}
	return nil
}
