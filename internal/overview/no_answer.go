package overview

import (
	"net/netip"

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

// silentOf are a pair's conversations that get no answer.
func (b *builder) silentOf(pair aggregate.PairKey) []*aggregate.Unanswered {
	if b.silent == nil {
		b.silent = map[aggregate.PairKey][]*aggregate.Unanswered{}
		for i := range b.Window.Unanswered {
			if u := &b.Window.Unanswered[i]; isSilent(u) {
				b.silent[u.PairKey] = append(b.silent[u.PairKey], u)
			}
		}
	}
	return b.silent[pair]
}

// noAnswer is of a pair, with the extra time that its packets spend for it as diagnose counts it; nil if it is answered, as
// far as anything is to be.
func (b *builder) noAnswer(silent []*aggregate.Unanswered, rto float64) (n *NoAnswer, pain float64) {
	for _, u := range silent {
		pain += b.silencePain(u, rto)
		n = longer(n, newNoAnswer(u))
	}
	return n, pain
}

func newNoAnswer(u *aggregate.Unanswered) *NoAnswer {
	return &NoAnswer{Destination: endAddress(u.Destination), Protocol: u.Protocol.String(), Packets: u.Packets, Seconds: u.First, Before: u.Before()}
}

// longer is the one that has been without an answer for longer. x may be nil.
func longer(x, y *NoAnswer) *NoAnswer {
	if x == nil || y.Seconds > x.Seconds {
		return y
	}
	return x
}

// silencePain is the extra time that what gets no answer spends in the window.
func (b *builder) silencePain(u *aggregate.Unanswered, rto float64) float64 {
	return float64(u.Packets) * rto * b.seconds / max(u.First, b.seconds)
}

// endAddress is an end's, with its port if that is known.
func endAddress(end netip.AddrPort) string {
	if end.Port() == 0 {
		return end.Addr().String()
	}
	return end.String()
}

// withSilentFlows tells of flows that they get no answer. What is tried so seldom that the window has no packet of it has a row too, unless
// its sender's own address is not known.
func (b *builder) withSilentFlows(rows []Row) []Row {
	type ends struct {
		pair     aggregate.PairKey
		protocol string
		to       netip.Addr
	}
	var at map[ends]int
	for i := range b.Window.Unanswered {
		u := &b.Window.Unanswered[i]
		if !isSilent(u) {
			continue
		}
		if at == nil {
			at = make(map[ends]int, len(rows))
			for i := range rows {
				f := &b.Window.Flows[i]
				at[ends{rows[i].Key(), rows[i].Protocol, f.Last.Destination.Addr()}] = i
			}
		}
		n, known := at[ends{u.PairKey, u.Protocol.String(), u.Destination.Addr()}]
		if !known {
			if u.Translated {
				continue
			}
			n = len(rows)
			rows = append(rows, silentFlow(u))
		}
		r := &rows[n]
		r.NoAnswer = longer(r.NoAnswer, newNoAnswer(u))
		r.Pain += b.silencePain(u, b.pairOf(u.PairKey).RTO(b.pairOf(u.Reverse()))) / b.seconds
	}
	return rows
}

// silentFlow is the row of a flow without a packet in the window.
func silentFlow(u *aggregate.Unanswered) Row {
	r := Row{
		Src:      Party{Namespace: u.SrcNamespace, Workload: u.SrcWorkload, Address: endAddress(u.Source)},
		Dst:      Party{Namespace: u.DstNamespace, Workload: u.DstWorkload, Address: endAddress(u.Destination)},
		Protocol: u.Protocol.String(), Direction: u.Direction, Stages: []Stage{},
	}
	if u.Redirected() {
		r.Service = endAddress(u.Asked)
	}
	return r
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
