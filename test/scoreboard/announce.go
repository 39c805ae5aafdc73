package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"golang.org/x/sys/unix"
)

// announcement is what daemons and routers send to whoever may listen, by the device that it leaves by.
type announcement struct {
	name string
	send func(device *net.Interface) error
}

var announcements = map[string]announcement{
	"vrrp": {"a VRRP advertisement of a master", func(d *net.Interface) error {
		return sendRaw(d, unix.AF_INET, 112, &unix.SockaddrInet4{Addr: [4]byte{224, 0, 0, 18}},
			[]byte{0x31, 51, 100, 1, 0, 100, 0xb9, 0x52, 10, 0, 0, 200})
	}},
	"mdns": {"a question of mDNS", func(d *net.Interface) error {
		question := "\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x05_http\x04_tcp\x05local\x00\x00\x0c\x00\x01"
		return sendGroup(d, net.IPv4(224, 0, 0, 251), 5353, []byte(question))
	}},
	"igmp": {"a membership report, and that the group is left again", func(d *net.Interface) error {
		conn, err := net.ListenMulticastUDP("udp4", d, &net.UDPAddr{IP: net.IPv4(239, 255, 1, 7), Port: 7946})
		if err != nil {
			return err
		}
		return conn.Close()
	}},
	"dhcp": {"a DHCPDISCOVER", func(d *net.Interface) error {
		discover := make([]byte, 300)
		copy(discover, []byte{1, 1, 6, 0, 0x39, 3, 0xf3, 0x26})
		copy(discover[28:], d.HardwareAddr)
		copy(discover[236:], []byte{99, 130, 83, 99, 53, 1, 1, 255})
		return sendGroup(d, net.IPv4bcast, 67, discover)
	}},
	"lldp": {"an LLDP frame", func(d *net.Interface) error {
		frame := append([]byte{0x02, 0x07, 0x04}, d.HardwareAddr...)                                    // chassis
		frame = append(frame, 0x04, 0x05, 0x05, 'e', 't', 'h', '0', 0x06, 0x02, 0x00, 0x78, 0x00, 0x00) // port, TTL, end
		return sendFrame(d, [6]byte{0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e}, 0x88cc, frame)
	}},
	"stp": {"a bridge's BPDU", func(d *net.Interface) error {
		bpdu := append([]byte{0x42, 0x42, 0x03, 0, 0, 0, 0}, make([]byte, 31)...)
		return sendFrame(d, [6]byte{0x01, 0x80, 0xc2, 0x00, 0x00, 0x00}, uint16(len(bpdu)), bpdu)
	}},
	"ra": {"a router's advertisement", func(d *net.Interface) error {
		return sendRaw(d, unix.AF_INET6, unix.IPPROTO_ICMPV6, &unix.SockaddrInet6{Addr: [16]byte{0xff, 0x02, 15: 1}, ZoneId: uint32(d.Index)},
			[]byte{134, 0, 0, 0, 64, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}) // no default route, no prefix
	}},
	"garp": {"an ARP announcement of an address", func(d *net.Interface) error {
		arp := append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, d.HardwareAddr...)
		arp = append(arp, 10, 0, 0, 200, 0, 0, 0, 0, 0, 0, 10, 0, 0, 200)
		return sendFrame(d, [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, unix.ETH_P_ARP, arp)
	}},
}

// announce sends what What names, in turn, from all Ethernet devices of a place.
func (f *flow) announce(ctx context.Context) {
	for f.pause(ctx) {
		for _, what := range f.What {
			f.count(ctx, f.client.Do(func() error { return sendAll(announcements[what]) }))
		}
	}
}

// sendAll sends one announcement from each Ethernet device that is up, in the namespace of the calling thread.
func sendAll(a announcement) error {
	devices, err := net.Interfaces()
	if err != nil {
		return err
	}
	var errs []error
	for i := range devices {
		d := &devices[i]
		if len(d.HardwareAddr) != 6 || d.Flags&net.FlagUp == 0 || d.Flags&net.FlagMulticast == 0 {
			continue
		}
		// A device may go as it is used, and one without an address of the family has nothing to say.
		err := a.send(d)
		if err != nil && !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.ENXIO) && !errors.Is(err, unix.EADDRNOTAVAIL) && !errors.Is(err, unix.ENETUNREACH) {
			errs = append(errs, fmt.Errorf("%s from %s: %w", a.name, d.Name, err))
		}
	}
	return errors.Join(errs...)
}

// sendGroup sends a datagram to a group or broadcast by a device.
func sendGroup(d *net.Interface, to net.IP, port int, payload []byte) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	address := &unix.SockaddrInet4{Port: port, Addr: [4]byte(to.To4())}
	if err := errors.Join(unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1), unix.BindToDevice(fd, d.Name)); err != nil {
		return err
	}
	return unix.Sendto(fd, payload, 0, address)
}

// sendRaw sends an IP packet of a protocol to a group by a device, with a hop limit of 255, as VRRP and neighbour discovery ask.
func sendRaw(d *net.Interface, family, protocol int, to unix.Sockaddr, payload []byte) error {
	fd, err := unix.Socket(family, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	level, option := unix.IPPROTO_IP, unix.IP_MULTICAST_TTL
	if family == unix.AF_INET6 {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_MULTICAST_HOPS
	}
	if err := errors.Join(unix.SetsockoptInt(fd, level, option, 255), unix.BindToDevice(fd, d.Name)); err != nil {
		return err
	}
	return unix.Sendto(fd, payload, 0, to)
}

// sendFrame sends an Ethernet frame of a type, or of a length below 1536, by a device.
func sendFrame(d *net.Interface, to [6]byte, kind uint16, payload []byte) error {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	frame := append(append([]byte{}, to[:]...), d.HardwareAddr...)
	frame = append(append(frame, byte(kind>>8), byte(kind)), payload...)
	frame = append(frame, make([]byte, max(0, 60-len(frame)))...)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: d.Index})
}
