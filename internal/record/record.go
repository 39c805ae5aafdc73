// Package record holds what the kernel says: one packet's journey through this node, and the devices that it
// passes. It is the vocabulary of every other package and depends on none of them.
package record

import (
	"fmt"
	"net/netip"
	"time"
)

// Hook is a place in the kernel where a packet is seen.
type Hook uint8

// The hooks of a packet's way, as bpf/record.h numbers them.
const (
	Ingress Hook = iota + 1 // tc ingress
	Egress                  // tc egress, in front of the qdisc
	Dequeue                 // taken from the qdisc, before GSO splits it
	Xmit                    // handed to the driver
	Free                    // freed: dropped, or the original of a GSO split
)

var hookNames = [...]string{"none", "ingress", "egress", "dequeue", "xmit", "free"}

func (h Hook) String() string {
	if int(h) < len(hookNames) {
		return hookNames[h]
	}
	return fmt.Sprintf("hook(%d)", uint8(h))
}

// MarshalText writes the hook's name.
func (h Hook) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// Kind says how a journey came to its end.
type Kind uint8

// The kinds of a Record.
const (
	Finished   Kind = iota + 1 // passed its last hook: the wire, a pod, or the node itself
	Dropped                    // kfree_skb
	Split                      // the original of a software GSO split, freed behind an egress
	InFlight                   // not ended yet: read from the in-flight table
	Connection                 // no journey: how a TCP connection stands
)

var kindNames = [...]string{"none", "finished", "dropped", "split", "open", "connection"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// MarshalText writes the kind's name.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Flow is the innermost IP packet's tuple. ICMP has no ports.
type Flow struct {
	Source      netip.AddrPort
	Destination netip.AddrPort
	Protocol    uint8 // IPPROTO_*
}

// Hop is a hook passed: where and when.
type Hop struct {
	Hook    Hook
	Ifindex int
	Time    time.Duration // CLOCK_MONOTONIC
}

// MaxHops is how many hooks a record holds: the first six and the last two.
const MaxHops = 8

// Record is one packet's journey, or how a TCP connection stands. It has no pointers into kernel memory and may be kept
// and copied.
type Record struct {
	Kind Kind
	// First is the flow at the first hook, before NAT; Last at the last tc hook, after it. They are equal
	// where nothing was rewritten.
	First, Last Flow
	// Hops[:Len] are the hooks passed in order. Where a packet passed more than MaxHops, those between the
	// sixth and the last two are missing and Skipped counts them.
	Hops    [MaxHops]Hop
	Len     int
	Skipped int

	SKBBytes  uint32 // sk_buff length at the first hook, link header included
	IPBytes   uint32 // innermost IP packet at the first hook
	WireBytes uint32 // at the last tc hook, with the headers that segmentation adds
	Segments  uint32 // at least 1
	// Weight is how many packets this one stands for: the inverse of the probability by which it was sampled.
	Weight uint32

	// SplitAt is how many hooks the packet had passed when the qdisc that took it in split it; 0 if none did. Then
	// there are a record of kind Split for the packet, and one for its first and one for its last segment, which
	// begin with the same hooks: Segments is 1 there, and the packet is not to be counted again.
	SplitAt int

	Encapsulated bool // seen inside a tunnel header at some hook
	Fragment     bool

	// Of a drop alone.
	Reason   string // the kernel's name without SKB_DROP_REASON_, e.g. "QDISC_DROP"; "" where the kernel gives none
	Location string // symbol that called kfree_skb, e.g. "__dev_queue_xmit"; "" where unknown
	// Attributed is false for a drop whose packet was at no hook before: Hops then holds, if anything, the device
	// that the kernel named and nothing else is known.
	Attributed bool
	SYN        bool // a TCP segment that asks for a connection
	// Time is when the record was made (CLOCK_MONOTONIC); for Open, when the table was read.
	Time time.Duration

	// TCP is that of a Connection, whose First and Last are both its addresses from this end; else nil.
	TCP *TCP
}

// Start is when the packet was seen first (CLOCK_MONOTONIC), for a drop at no hook when it was lost.
func (r *Record) Start() time.Duration {
	if r.Len > 0 {
		return r.Hops[0].Time
	}
	return r.Time
}

// Path are the hooks passed, in order.
func (r *Record) Path() []Hop { return r.Hops[:r.Len] }
