package record

import (
	"net/netip"
	"time"
)

// ConntrackFlow is a packet's addresses as an entry of the connection table has them: those that its sender knows, before NAT.
type ConntrackFlow struct {
	Protocol    Protocol       `json:"protocol"`
	Source      netip.AddrPort `json:"source"`
	Destination netip.AddrPort `json:"destination"`
}

// ConntrackEntry is what the connection table says of a flow.
type ConntrackEntry struct {
	ConntrackFlow
	// Translated is where packets to Destination go: the source of the answers that are expected.
	Translated netip.AddrPort `json:"translated"`
	// AnswersTo is where those answers go: the source of the packets behind NAT.
	AnswersTo netip.AddrPort `json:"answers_to"`
	// Replied tells that there was an answer (IPS_SEEN_REPLY).
	Replied bool `json:"replied"`
	// Assured tells that both ends have sent for a while (IPS_ASSURED); of UDP, that answers came for more than two seconds.
	Assured bool `json:"assured"`
	// Timeout is after how long without packets the kernel forgets it.
	Timeout time.Duration `json:"timeout_ns"`
}
