package overview

import (
	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// NoAnswer is that what a pair's sender sends gets no answer, in the conversation that has been without the longest.
type NoAnswer struct {
	Destination string  `json:"destination"` // as the packets left; with the server's port
	Protocol    string  `json:"protocol"`
	Packets     uint64  `json:"packets"` // since the last answer
	Seconds     float64 `json:"seconds"` // since the first of them
	Before      bool    `json:"answered_before"`
}

// minSilence is how long, in seconds, and in how many of them, something is without an answer until that is shown.
const minSilence = 3

// noAnswer is of a pair, with the extra time that its packets spend for it as diagnose counts it; nil if it is answered, as
// far as anything is to be.
func (b *builder) noAnswer(pair aggregate.PairKey, rto float64) (n *NoAnswer, pain float64) {
	for i := range b.Window.Unanswered {
		u := &b.Window.Unanswered[i]
		if u.PairKey != pair || !isSilent(u) {
			continue
		}
		pain += float64(u.Packets) * rto * b.seconds / max(u.First, b.seconds)
		if n == nil || u.First > n.Seconds {
			to := u.Destination.String()
			if u.Destination.Port() == 0 {
				to = u.Destination.Addr().String()
			}
			n = &NoAnswer{Destination: to, Protocol: u.Protocol.String(), Packets: u.Packets, Seconds: u.First, Before: u.Before()}
		}
	}
	return n, pain
}

// isSilent tells of what has no answer that somebody waits for one: TCP tries to connect or sends again, a question of DNS or
// a ping is asked again, or there were answers before.
func isSilent(u *aggregate.Unanswered) bool {
	if u.Refused || 2*u.Dropped >= u.Tries || u.Seconds < minSilence || u.First < minSilence {
		return false
	}
	switch u.Protocol {
	case record.ProtocolTCP, record.ProtocolSCTP:
		return u.Client && (u.Connections > 0 || u.Retransmits > 0) && u.Others == 0 || u.Retransmits >= minSilence
	case record.ProtocolICMP, record.ProtocolICMPv6:
		return u.Client && u.Ifindex != 0
	}
	return u.Client && (u.Query || u.Before())
}
