package device

import (
	"math"
	"time"

	"tracer/internal/netdev"

	"github.com/vishvananda/netlink/nl"
)

// Package netlink reads qdiscs too, but leaves out codel, cake, the fifos' limits, netem's times beyond 32 bits and
// its bursty loss, and 64-bit packet counters; so they are read here from the messages themselves. What is missing
// or cut short in a message stays zero.

// tickNanoseconds is the kernel's unit of qdisc times: 1<<PSCHED_SHIFT (include/net/pkt_sched.h).
const tickNanoseconds = 64

// tcmsgBytes is the size of struct tcmsg: family, padding, ifindex, handle, parent, info.
const tcmsgBytes = 20

// parseNode reads an RTM_NEWQDISC or, if class, an RTM_NEWTCLASS message.
func parseNode(message []byte, class bool) (node, bool) {
	if len(message) < tcmsgBytes {
		return node{}, false
	}
	n := node{ifindex: int(int32(u32(message, 4))), handle: u32(message, 8), parent: u32(message, 12)}
	n.qdisc.Class = class
	var options []byte
	for kind, value := range attributes(message[tcmsgBytes:]) {
		switch kind {
		case nl.TCA_KIND:
			n.qdisc.Kind = text(value)
		case nl.TCA_OPTIONS:
			options = value
		case nl.TCA_STATS2:
			parseCounters(&n.qdisc, value)
		}
	}
	if class {
		parseClass(&n.qdisc, options)
	} else {
		parseQdisc(&n.qdisc, options)
	}
	return n, n.qdisc.Kind != ""
}

// parseCounters reads struct gnet_stats_basic and gnet_stats_queue (include/uapi/linux/gen_stats.h).
func parseCounters(q *netdev.Qdisc, stats []byte) {
	for kind, value := range attributes(stats) {
		switch kind {
		case nl.TCA_STATS_BASIC:
			q.Bytes = u64(value, 0)
			q.Packets = uint64(u32(value, 8))
		case nl.TCA_STATS_PKT64: // follows the 32-bit count where that has run over
			q.Packets = u64(value, 0)
		case nl.TCA_STATS_QUEUE:
			q.BacklogPackets = uint64(u32(value, 0))
			q.BacklogBytes = uint64(u32(value, 4))
			q.Drops = uint64(u32(value, 8))
			q.Requeues = uint64(u32(value, 12))
			q.Overlimits = uint64(u32(value, 16))
		}
	}
}

// parseQdisc reads a qdisc's parameters; those of structs are at the offsets of include/uapi/linux/pkt_sched.h.
func parseQdisc(q *netdev.Qdisc, options []byte) {
	switch q.Kind {
	case "pfifo", "pfifo_head_drop":
		setLimit(q, u32(options, 0), "packets")
	case "bfifo":
		setLimit(q, u32(options, 0), "bytes")
	case "sfq":
		setLimit(q, u32(options, 8), "packets")
	case "fq":
		for kind, value := range attributes(options) {
			if kind == nl.TCA_FQ_PLIMIT {
				setLimit(q, u32(value, 0), "packets")
			}
		}
	case "codel", "fq_codel": // their first attributes have the same numbers
		for kind, value := range attributes(options) {
			switch kind {
			case nl.TCA_FQ_CODEL_TARGET:
				q.Target = time.Duration(u32(value, 0)) * time.Microsecond
			case nl.TCA_FQ_CODEL_LIMIT:
				setLimit(q, u32(value, 0), "packets")
			case nl.TCA_FQ_CODEL_INTERVAL:
				q.Interval = time.Duration(u32(value, 0)) * time.Microsecond
			case nl.TCA_FQ_CODEL_FLOWS:
				if q.Kind == "fq_codel" { // codel's CE threshold
					q.Flows = u32(value, 0)
				}
			}
		}
	case "tbf":
		parseTBF(q, options)
	case "htb":
		for kind, value := range attributes(options) {
			if kind == nl.TCA_HTB_INIT {
				q.Default = u32(value, 8)
			}
		}
	case "hfsc":
		q.Default = uint32(u16(options, 0))
	case "cake":
		const baseRate64 = 2 // TCA_CAKE_BASE_RATE64
		for kind, value := range attributes(options) {
			if kind == baseRate64 {
				q.RateBits = u64(value, 0) * 8
			}
		}
	case "netem":
		parseNetem(q, options)
	}
}

// parseClass reads the parameters of htb's and hfsc's classes.
func parseClass(q *netdev.Qdisc, options []byte) {
	for kind, value := range attributes(options) {
		switch {
		case q.Kind == "htb" && kind == nl.TCA_HTB_PARMS:
			q.RateBits = uint64(u32(value, 8)) * 8
			q.CeilBits = uint64(u32(value, 20)) * 8
			q.Burst = uint64(u32(value, 24)) // in ticks, until the rate is known
		case q.Kind == "htb" && kind == nl.TCA_HTB_RATE64:
			q.RateBits = u64(value, 0) * 8
		case q.Kind == "htb" && kind == nl.TCA_HTB_CEIL64:
			q.CeilBits = u64(value, 0) * 8
		case q.Kind == "hfsc" && kind == hfscFSC, q.Kind == "hfsc" && kind == hfscRSC && q.RateBits == 0:
			q.RateBits = uint64(u32(value, 8)) * 8
		case q.Kind == "hfsc" && kind == hfscUSC:
			q.CeilBits = uint64(u32(value, 8)) * 8
		}
	}
	q.Burst = burstBytes(q.Burst, q.RateBits)
}

// TCA_HFSC_*: real-time, link-sharing and upper-limit curve.
const (
	hfscRSC = iota + 1
	hfscFSC
	hfscUSC
)

func parseTBF(q *netdev.Qdisc, options []byte) {
	for kind, value := range attributes(options) {
		switch kind {
		case nl.TCA_TBF_PARMS:
			q.RateBits = uint64(u32(value, 8)) * 8
			setLimit(q, u32(value, 24), "bytes")
			q.Burst = uint64(u32(value, 28)) // in ticks, until the rate is known
		case nl.TCA_TBF_RATE64:
			q.RateBits = u64(value, 0) * 8
		}
	}
	q.Burst = burstBytes(q.Burst, q.RateBits)
}

// TCA_NETEM_* that package nl does not have, and NETEM_LOSS_GE.
const (
	netemLatency64 = 10 // nanoseconds
	netemJitter64  = 11 // nanoseconds
	netemLossGE    = 2
)

func parseNetem(q *netdev.Qdisc, options []byte) {
	q.Delay = ticks(u32(options, 0))
	setLimit(q, u32(options, 4), "packets")
	q.Loss = fraction(u32(options, 8))
	q.Duplicate = fraction(u32(options, 16))
	q.Jitter = ticks(u32(options, 20))
	if len(options) < nl.SizeofTcNetemQopt {
		return
	}
	for kind, value := range attributes(options[nl.SizeofTcNetemQopt:]) {
		switch kind {
		case nl.TCA_NETEM_CORRUPT:
			q.Corrupt = fraction(u32(value, 0))
		case nl.TCA_NETEM_LOSS:
			for model, parameters := range attributes(value) {
				if model == netemLossGE {
					q.Loss = gilbertElliott(parameters)
				}
			}
		case nl.TCA_NETEM_RATE:
			if q.RateBits == 0 { // else the 64-bit rate was there already, and this is its limit
				q.RateBits = uint64(u32(value, 0)) * 8
			}
		case nl.TCA_NETEM_RATE64:
			q.RateBits = u64(value, 0) * 8
		case netemLatency64:
			q.Delay = time.Duration(u64(value, 0))
		case netemJitter64:
			q.Jitter = time.Duration(u64(value, 0))
		}
	}
}

// gilbertElliott is the mean loss of struct tc_netem_gemodel: p, r (good to bad state and back), h (what arrives in
// the bad state), k1 (what is lost in the good one).
func gilbertElliott(parameters []byte) float64 {
	p, r := fraction(u32(parameters, 0)), fraction(u32(parameters, 4))
	h, k1 := fraction(u32(parameters, 8)), fraction(u32(parameters, 12))
	if p+r == 0 { // it never leaves the good state
		return k1
	}
	bad := p / (p + r)
	return roundFraction(bad*(1-h) + (1-bad)*k1)
}

func setLimit(q *netdev.Qdisc, limit uint32, unit string) {
	if limit != 0 {
		q.Limit, q.LimitUnit = uint64(limit), unit
	}
}

func ticks(n uint32) time.Duration { return time.Duration(n) * tickNanoseconds }

// burstBytes is what passes at a rate in so many ticks: the kernel holds a bucket as the time that fills it.
func burstBytes(ticks, rateBits uint64) uint64 {
	return uint64(math.Round(float64(rateBits) / 8 * float64(ticks) * tickNanoseconds / 1e9))
}

// fraction reads a probability of which 1 is the largest number.
func fraction(n uint32) float64 { return roundFraction(float64(n) / math.MaxUint32) }

// roundFraction takes away what is finer than 32 bits can say, so that 10 % is 0.1.
func roundFraction(f float64) float64 { return math.Round(f*1e9) / 1e9 }
