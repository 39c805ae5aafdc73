package record

import (
	"fmt"
	"strconv"
	"strings"
)

// Protocol is an IP protocol by its number (IANA, IPPROTO_* in netinet/in.h); 0 is any. A *Protocol is a flag's value.
type Protocol uint8

// The protocols that are known by name.
const (
	ProtocolICMP    Protocol = 1
	ProtocolTCP     Protocol = 6
	ProtocolUDP     Protocol = 17
	ProtocolGRE     Protocol = 47
	ProtocolICMPv6  Protocol = 58
	ProtocolSCTP    Protocol = 132
	ProtocolUDPLite Protocol = 136
)

// String is the protocol's name, else its number; "" for any.
func (p Protocol) String() string {
	switch p {
	case 0:
		return ""
	case ProtocolICMP:
		return "icmp"
	case ProtocolTCP:
		return "tcp"
	case ProtocolUDP:
		return "udp"
	case ProtocolGRE:
		return "gre"
	case ProtocolICMPv6:
		return "icmpv6"
	case ProtocolSCTP:
		return "sctp"
	case ProtocolUDPLite:
		return "udplite"
	}
	return strconv.Itoa(int(p))
}

// Set reads a name or a number.
func (p *Protocol) Set(text string) error {
	for _, known := range []Protocol{ProtocolICMP, ProtocolTCP, ProtocolUDP, ProtocolGRE, ProtocolICMPv6, ProtocolSCTP, ProtocolUDPLite} {
		if strings.EqualFold(known.String(), text) {
			*p = known
			return nil
		}
	}
	n, err := strconv.ParseUint(text, 10, 8)
	if err != nil || n == 0 {
		return fmt.Errorf("%q is no protocol: give tcp, udp, icmp, icmpv6, sctp, udplite, gre or a number", text)
	}
	*p = Protocol(n)
	return nil
}

// Type is what help calls the value.
func (p *Protocol) Type() string { return "protocol" }

// Ports tells whether the protocol's packets have ports.
func (p Protocol) Ports() bool {
	return p == ProtocolTCP || p == ProtocolUDP || p == ProtocolSCTP || p == ProtocolUDPLite
}
