// Package wireguard asks the kernel about the peers of WireGuard devices: who they are and when they last shook hands.
package wireguard

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
	"tracer/internal/rtnl"
)

// Of include/uapi/linux/wireguard.h.
const (
	familyName = "wireguard"
	version    = 1
	getDevice  = 0

	deviceName  = 2
	devicePeers = 8

	peerPublicKey = 1
	peerEndpoint  = 4
	peerHandshake = 6
	peerRxBytes   = 7
	peerTxBytes   = 8
	peerAllowed   = 9

	allowedAddress = 2
	allowedBits    = 3
)

// Reader asks about the devices of one network namespace. Its methods may be called from any goroutine.
type Reader struct {
	mu     sync.Mutex
	socket *nl.SocketHandle
	family uint16 // 0 while the kernel has no WireGuard, as far as is known
}

// Open returns a Reader for the calling thread's network namespace. The caller closes it.
func Open() (*Reader, error) {
	socket, err := nl.GetNetlinkSocketAt(netns.None(), netns.None(), unix.NETLINK_GENERIC)
	if err != nil {
		return nil, fmt.Errorf("open generic netlink socket: %w", err)
	}
	answerWithin := unix.NsecToTimeval((10 * time.Second).Nanoseconds())
	if err := socket.SetReceiveTimeout(&answerWithin); err != nil {
		socket.Close()
		return nil, fmt.Errorf("set timeout of generic netlink socket: %w", err)
	}
	return &Reader{socket: &nl.SocketHandle{Socket: socket}}, nil
}

// Close closes the socket.
func (r *Reader) Close() { r.socket.Close() }

// Peers are those of a WireGuard device; nil if there is no such device.
func (r *Reader) Peers(device string) ([]netdev.Peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.family == 0 {
		var err error
		if r.family, err = r.findFamily(); err != nil {
			return nil, fmt.Errorf("find the kernel's wireguard: %w", err)
		}
	}
	messages, err := rtnl.Complete(func() ([][]byte, error) {
		request := r.request(int(r.family), unix.NLM_F_DUMP, nl.Genlmsg{Command: getDevice, Version: version})
		request.AddData(nl.NewRtAttr(deviceName, nl.ZeroTerminated(device)))
		return request.Execute(unix.NETLINK_GENERIC, 0)
	})
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("list the peers of %s: %w (it takes CAP_NET_ADMIN)", device, err)
	}
	return parsePeers(device, messages)
}

func (r *Reader) request(family, flags int, header nl.Genlmsg) *nl.NetlinkRequest {
	request := nl.NewNetlinkRequest(family, flags)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_GENERIC: r.socket}
	four := [2]nl.Genlmsg{header} // four bytes, of which the type has two
	request.AddData(&four[0])
	return request
}

// findFamily asks for WireGuard's number: a module that is loaded later has none before.
func (r *Reader) findFamily() (uint16, error) {
	request := r.request(unix.GENL_ID_CTRL, 0, nl.Genlmsg{Command: unix.CTRL_CMD_GETFAMILY, Version: 1})
	request.AddData(nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(familyName)))
	messages, err := request.Execute(unix.NETLINK_GENERIC, 0)
	if err != nil {
		return 0, err
	}
	for _, m := range messages {
		for kind, value := range rtnl.Attributes(skipHeader(m)) {
			if kind == unix.CTRL_ATTR_FAMILY_ID && len(value) >= 2 {
				return binary.NativeEndian.Uint16(value), nil
			}
		}
	}
	return 0, errors.New("the kernel gives it no number")
}

// skipHeader leaves out struct genlmsghdr: command, version, reserved.
func skipHeader(message []byte) []byte { return message[min(len(message), 4):] }

// parsePeers reads the answer's messages. A peer with many prefixes continues in the next message, by its key alone. The
// device's private key is among the attributes for who may see it, and is passed over.
func parsePeers(device string, messages [][]byte) ([]netdev.Peer, error) {
	var peers []netdev.Peer
	last := ""
	for _, m := range messages {
		for kind, list := range rtnl.Attributes(skipHeader(m)) {
			if kind != devicePeers {
				continue
			}
			for _, one := range rtnl.Attributes(list) {
				p, key := parsePeer(one)
				if key == "" {
					return nil, fmt.Errorf("a peer of %s has no key", device)
				}
				if n := len(peers); n > 0 && key == last {
					peers[n-1].Allowed = append(peers[n-1].Allowed, p.Allowed...)
					continue
				}
				last, p.Device = key, device
				peers = append(peers, p)
			}
		}
	}
	return peers, nil
}

func parsePeer(peer []byte) (p netdev.Peer, key string) {
	for kind, value := range rtnl.Attributes(peer) {
		switch {
		case kind == peerPublicKey:
			key = string(value)
		case kind == peerEndpoint:
			p.Endpoint = parseEndpoint(value)
		case kind == peerHandshake && len(value) >= 16: // struct __kernel_timespec
			seconds, nanoseconds := int64(binary.NativeEndian.Uint64(value)), int64(binary.NativeEndian.Uint64(value[8:]))
			if seconds != 0 {
				p.Handshake = time.Unix(seconds, nanoseconds)
			}
		case kind == peerRxBytes && len(value) >= 8:
			p.RxBytes = binary.NativeEndian.Uint64(value)
		case kind == peerTxBytes && len(value) >= 8:
			p.TxBytes = binary.NativeEndian.Uint64(value)
		case kind == peerAllowed:
			for _, one := range rtnl.Attributes(value) {
				if prefix, ok := parseAllowed(one); ok {
					p.Allowed = append(p.Allowed, prefix)
				}
			}
		}
	}
	return p, key
}

// parseEndpoint reads a struct sockaddr_in or sockaddr_in6.
func parseEndpoint(socket []byte) netip.AddrPort {
	if len(socket) < unix.SizeofSockaddrInet4 {
		return netip.AddrPort{}
	}
	port := binary.BigEndian.Uint16(socket[2:])
	switch family := binary.NativeEndian.Uint16(socket); {
	case family == unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(socket[4:8])), port)
	case family == unix.AF_INET6 && len(socket) >= unix.SizeofSockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16([16]byte(socket[8:24])), port)
	}
	return netip.AddrPort{}
}

func parseAllowed(attrs []byte) (netip.Prefix, bool) {
	var address netip.Addr
	bits := -1
	for kind, value := range rtnl.Attributes(attrs) {
		switch {
		case kind == allowedAddress:
			address, _ = netip.AddrFromSlice(value)
		case kind == allowedBits && len(value) > 0:
			bits = int(value[0])
		}
	}
	prefix := netip.PrefixFrom(address, bits)
	return prefix, prefix.IsValid()
}
