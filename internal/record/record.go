// Package record holds what the kernel tells in the shape that all other packages share: one packet's journey through this
// node, how a TCP connection stands, and the kernel's own counters. Times are CLOCK_MONOTONIC unless they say otherwise,
// sizes are bytes. It depends on no other package.
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
	Ingress  Hook = iota + 1 // tc ingress
	Egress                   // tc egress, in front of the qdisc
	Dequeue                  // taken from the qdisc, before GSO splits it
	Xmit                     // handed to the driver
	Free                     // freed: dropped, or the original of a GSO split
	Socket                   // received by a pod's TCP, past the pod's device
	PodQueue                 // at the pod's own end of its device, in front of the qdisc there
)

var hookNames = [...]string{"none", "ingress", "egress", "dequeue", "xmit", "free", "socket", "pod-queue"}

func (h Hook) String() string {
	if int(h) < len(hookNames) {
		return hookNames[h]
	}
	return fmt.Sprintf("hook(%d)", uint8(h))
}

// TCHook is a tc hook by its name, "ingress" or "egress".
func TCHook(name string) Hook {
	if name == Egress.String() {
		return Egress
	}
	return Ingress
}

// Kind says how a journey came to its end.
type Kind uint8

// The kinds of a Record.
const (
	Finished   Kind = iota + 1 // passed its last hook: the wire, a pod, or the node itself
	Dropped                    // kfree_skb
	Split                      // the original of a software GSO split, freed behind an egress
	InFlight                   // not at an end: read from the in-flight table
	Connection                 // no journey: how a TCP connection stands
	Requested                  // no journey: what became of a request
)

var kindNames = [...]string{"none", "finished", "dropped", "split", "open", "connection", "request"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

// Flow is the innermost IP packet's tuple. ICMP has no ports.
type Flow struct {
	Source      netip.AddrPort
	Destination netip.AddrPort
	Protocol    Protocol
}

// Hop is a hook passed: where and when.
type Hop struct {
	Hook    Hook
	Ifindex int
	Time    time.Duration // CLOCK_MONOTONIC
}

// MaxHops is how many hooks a record holds: the first six and the last two.
const MaxHops = 8

// OtherHost is the kernel's reason for a frame to another MAC than that of the device that it came to. Records have it of kernels
// without reasons, too.
const OtherHost = "OTHERHOST"

// Record is one packet's journey, how a TCP connection stands, or what became of a request. It has no pointers into kernel memory and may be kept
// and copied.
type Record struct {
	Kind Kind
	// First is the flow at the first hook, before NAT; Last at the last tc hook, after it, or of a dropped packet as it was
	// freed. They are equal where nothing was rewritten.
	First, Last Flow
	// Fingerprint is of what routers, NAT and tunnels leave alone of a packet: with its flow, the same on all nodes.
	Fingerprint uint64
	// Hops[:Len] are the hooks passed in order. Where a packet passed more than MaxHops, those between the
	// sixth and the last two are missing and Skipped counts them.
	Hops    [MaxHops]Hop
	Len     int
	Skipped int

	// A large packet (GSO, GRO) has its headers once, in all but WireBytes at an egress.
	SKBBytes  uint32 // sk_buff length at the first hook, link header included
	IPBytes   uint32 // innermost IP packet at the first hook, from its IP header on
	WireBytes uint32 // the packet at the last tc hook; at an egress all headers of each segment are in it
	Segments  uint32 // that it makes on the wire; at least 1
	// Weight is how many packets this one stands for: the inverse of the probability by which it was sampled.
	Weight uint32

	// SplitAt is how many hooks the packet had passed when a qdisc split it at enqueue; 0 if none did. Such a packet
	// has a record of kind Split, and one each for its first and its last segment, which begin with the same hooks.
	// The segments' records have Segments 1, and the packet is not to be counted again.
	SplitAt int

	Encapsulated bool // seen inside a tunnel header at some hook
	Fragment     bool

	// The following are set for drops only.

	Reason   string // the kernel's name without SKB_DROP_REASON_, e.g. "QDISC_DROP"; "" where the kernel gives none
	Location string // symbol that called kfree_skb, e.g. "__dev_queue_xmit"; "" where unknown
	// Attributed is false for a drop of which neither a hook nor a pod's address tells the place: Hops then holds at most the
	// device that the kernel named, and nothing else is known. A drop that is placed by the pod's address has an xmit hop
	// that no hook saw, with the drop's time.
	Attributed bool
	SYN        bool // a TCP segment that asks for a connection
	// FrameMAC is, of a packet that was freed since its frame was for another MAC than that of the device that it came to, that
	// MAC; else zero. Missent tells that the packet was for this node or its pods all the same.
	FrameMAC [6]byte
	Missent  bool

	// Time is when the record was made; for InFlight, when the table was read.
	Time time.Duration

	// TCP is set for a Connection only. First and Last are then both its addresses as seen from this end.
	TCP *TCP
	// Request is set for a Requested only. First and Last are then both the connection's addresses from the pod, as they pass its
	// device, which is Hops[0] with the time of the request's last packet.
	Request *Request
}

// Start is when the packet was first seen; for a drop of a packet that had passed no hook, when it was dropped.
func (r *Record) Start() time.Duration {
	if r.Len > 0 {
		return r.Hops[0].Time
	}
	return r.Time
}

// Passed are the hooks passed, in order.
func (r *Record) Passed() []Hop { return r.Hops[:r.Len] }

// Header is the beginning of a packet as it was at a hook: its headers, and nothing of what it carries.
type Header struct {
	Hook    Hook // Free: it was dropped
	Ifindex int  // of the hook's device; 0 for a drop
	Time    time.Duration
	Length  uint32 // of the whole packet from its outermost IP header on
	Bytes   []byte // from that header on
}
