package trace

import (
	"fmt"
	"strconv"
	"strings"
)

// Protocol is an IP protocol's number; 0 is any. A *Protocol is a flag's value.
type Protocol uint8

// The protocols that are known by name (IANA's numbers, as in netinet/in.h).
const (
	icmp    = 1
	tcp     = 6
	udp     = 17
	gre     = 47
	icmpv6  = 58
	sctp    = 132
	udplite = 136
)

var protocolNames = map[Protocol]string{
	icmp: "icmp", tcp: "tcp", udp: "udp", gre: "gre", icmpv6: "icmpv6", sctp: "sctp", udplite: "udplite",
}

func (p Protocol) String() string {
	if name, ok := protocolNames[p]; ok {
		return name
	}
	if p == 0 {
		return ""
	}
	return strconv.Itoa(int(p))
}

// Set reads a name or a number.
func (p *Protocol) Set(text string) error {
	for number, name := range protocolNames {
		if strings.EqualFold(name, text) {
			*p = number
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

// Ports tells whether the protocol has any.
func (p Protocol) Ports() bool { return p == tcp || p == udp || p == sctp || p == udplite }
