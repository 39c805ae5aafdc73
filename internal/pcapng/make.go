package pcapng

import (
	"fmt"
	"net/netip"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"

	"tracer/internal/record"
	"tracer/internal/trace"
)

// makeHeader makes headers of what a trace knows: the innermost packet as it was last.
func makeHeader(t *trace.Trace) (*trace.Header, error) {
	h := &trace.Header{Length: t.Bytes.IP}
	if t.Drop != nil {
		h.Device = t.Drop.Device
	}
	for _, hook := range t.Hooks {
		if t.Drop == nil || hook.Device == h.Device {
			h.Device, h.Ifindex = hook.Device, hook.Ifindex
		}
	}
	source, destination := endOf(t.Last.Source), endOf(t.Last.Destination)
	var protocol record.Protocol
	if t.Last.Protocol != "0" { // which no header has
		if err := protocol.Set(t.Last.Protocol); err != nil {
			return nil, fmt.Errorf("make a header: %w", err)
		}
	}
	var packet []gopacket.SerializableLayer
	var payload uint32 // bytes of IP
	if source.Addr().Is4() && destination.Addr().Is4() {
		const words = 5
		payload = max(t.Bytes.IP, words*4) - words*4
		packet = append(packet, &layers.IPv4{
			Version: 4, IHL: words, Length: length16(t.Bytes.IP), Protocol: layers.IPProtocol(protocol),
			SrcIP: source.Addr().AsSlice(), DstIP: destination.Addr().AsSlice(),
		})
	} else {
		const header = 40
		payload = max(t.Bytes.IP, header) - header
		a, b := source.Addr().As16(), destination.Addr().As16()
		packet = append(packet, &layers.IPv6{
			Version: 6, Length: length16(payload), NextHeader: layers.IPProtocol(protocol), SrcIP: a[:], DstIP: b[:],
		})
	}
	switch layers.IPProtocol(protocol) {
	case layers.IPProtocolTCP:
		const words = 5
		packet = append(packet, &layers.TCP{
			SrcPort: layers.TCPPort(source.Port()), DstPort: layers.TCPPort(destination.Port()), DataOffset: words,
		})
	case layers.IPProtocolUDP:
		packet = append(packet, &layers.UDP{SrcPort: layers.UDPPort(source.Port()), DstPort: layers.UDPPort(destination.Port()), Length: length16(payload)})
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{}, packet...); err != nil {
		return nil, fmt.Errorf("make a header: %w", err)
	}
	h.Bytes = buffer.Bytes()
	return h, nil
}

// length16 is a length as an IP header has it: 0 for packets beyond 64 KiB.
func length16(n uint32) uint16 {
	if n > 0xffff {
		return 0
	}
	return uint16(n)
}

// endOf reads an address with or without a port; what is none becomes an IPv4 address of zeros.
func endOf(text string) netip.AddrPort {
	if end, err := netip.ParseAddrPort(text); err == nil {
		return end
	}
	if a, err := netip.ParseAddr(text); err == nil {
		return netip.AddrPortFrom(a, 0)
	}
	return netip.AddrPortFrom(netip.IPv4Unspecified(), 0)
}
