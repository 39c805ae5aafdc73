package loader

import (
	"encoding/binary"

	"golang.org/x/sys/unix"

	"tracer/internal/header"
)

const modelVXLAN, modelGeneve = 4789, 6081

// etherType is what the kernel takes a frame for (eth_type_trans).
func etherType(frame []byte) uint16 {
	t := binary.BigEndian.Uint16(frame[12:])
	switch {
	case t >= 0x600:
		return t
	case len(frame) >= 16 && frame[14] == 0xff && frame[15] == 0xff:
		return unix.ETH_P_802_3
	default:
		return unix.ETH_P_802_2
	}
}

// parseModel is what the parser of headers in bpf/parse.bpf.h should find in a frame. A device without Ethernet headers has them in
// front all the same (before Linux 5.14), so that IP's begins behind them.
func parseModel(frame []byte, ethernet bool) (header.Packet, header.Result) {
	switch etherType(frame) {
	case unix.ETH_P_IP, unix.ETH_P_IPV6, unix.ETH_P_8021Q, unix.ETH_P_8021AD:
	default:
		return header.Packet{}, header.NotIP
	}
	tunnels := header.Tunnels{VXLAN: []uint16{modelVXLAN}, Geneve: []uint16{modelGeneve}}
	if !ethernet {
		const bytes = 14
		return header.ParseIP(frame[bytes:], len(frame)-bytes, tunnels)
	}
	return header.ParseEthernet(frame, len(frame), tunnels)
}
