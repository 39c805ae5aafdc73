package main

import "github.com/cilium/ebpf"

// never is a sampling ratio that no packet of a run meets.
const never = 1<<32 - 1

// Limits, as multiples of a program that does nothing but read the clock.
const (
	hookLimit      = 1.7
	lastLimit      = 2.6
	unsampledLimit = 0.3
)

// scenario is a program that is repeated on one packet.
type scenario struct {
	name    string
	program *ebpf.Program
	packet  []byte
	sampleN uint32
	flags   hooksFlag // of the slot that the program finds
	// At a pod's device requests are timed: of connections whose number is below watch, which are looked for below look.
	pod         bool
	watch, look uint64
	// Each repeat counts these, and nothing else; or it leaves the slot in use, with this hook as its last.
	counts []hooksCounter
	leaves hooksHook
	limit  float64 // times a clock read; 0: none
	aim    bool    // the limit is not enforced: it is not kept yet
}

// The scenarios that the others are set against.
const (
	emptyName = "empty program"
	clockName = "bpf_ktime_get_ns"
	// wrapperName is what all behind it begin with; it is taken off them as well.
	wrapperName = "wrapper alone"
)

func scenarios(o *hooksObjects, p packets) []scenario {
	const (
		all           = uint64(1) << 32
		started       = hooksCounterCOUNT_STARTED
		unsampled     = hooksCounterCOUNT_UNSAMPLED
		finished      = hooksCounterCOUNT_FINISHED
		drop          = hooksCounterCOUNT_DROPPED
		unsampledFlag = hooksFlagFLAG_UNSAMPLED
		leavesFlag    = hooksFlagFLAG_LEAVES
	)
	count := func(c hooksCounter) []hooksCounter { return []hooksCounter{c} }
	return []scenario{
		{name: emptyName, program: o.Empty, packet: p.tcp4},
		{name: clockName, program: o.Clock, packet: p.tcp4},
		{name: wrapperName, program: o.Wrapper, packet: p.tcp4, leaves: hooksHookHOOK_INGRESS},
		{name: "first hook, TCP over IPv4", program: o.First, packet: p.tcp4, counts: count(started), limit: hookLimit},
		{name: "first hook, TCP over IPv6", program: o.First, packet: p.tcp6, counts: count(started), limit: hookLimit},
		{name: "first hook, UDP over IPv4", program: o.First, packet: p.udp4, counts: count(started), limit: hookLimit},
		{name: "first hook, IP options", program: o.First, packet: p.options, counts: count(started)},
		{name: "later hook, TCP over IPv4", program: o.Later, packet: p.tcp4, leaves: hooksHookHOOK_EGRESS, limit: hookLimit},
		{name: "later hook, in IPIP", program: o.Later, packet: p.ipip, leaves: hooksHookHOOK_EGRESS, limit: hookLimit},
		{name: "later hook, in VXLAN", program: o.Later, packet: p.vxlan, leaves: hooksHookHOOK_EGRESS, limit: hookLimit},
		{name: "dequeue", program: o.Dequeue, packet: p.tcp4, leaves: hooksHookHOOK_DEQUEUE, limit: hookLimit},
		{name: "xmit", program: o.StartXmit, packet: p.tcp4, leaves: hooksHookHOOK_XMIT, limit: hookLimit},
		{name: "last xmit, with its record", program: o.StartXmit, packet: p.tcp4, flags: leavesFlag, counts: count(finished), limit: lastLimit},
		{name: "drop, with its record", program: o.FreeSkb, packet: p.tcp4, flags: leavesFlag, counts: count(drop)},
		{name: "not sampled, first hook", program: o.First, packet: p.tcp4, sampleN: never, counts: count(unsampled), limit: unsampledLimit, aim: true},
		{name: "not sampled, later hook", program: o.Later, packet: p.tcp4, flags: unsampledFlag, leaves: hooksHookHOOK_EGRESS, limit: unsampledLimit},
		{name: "not sampled, xmit", program: o.StartXmit, packet: p.tcp4, flags: unsampledFlag, leaves: hooksHookHOOK_XMIT, limit: unsampledLimit},
		{name: "pod's first hook, not watched", program: o.First, packet: p.tcp4, pod: true, look: 1, counts: count(started)},
		{name: "pod's first hook, a request", program: o.First, packet: p.tcp4, pod: true, watch: all, look: all, counts: count(started)},
		{name: "pod's first hook, an acknowledgement", program: o.First, packet: p.ack, pod: true, watch: all, look: all, counts: count(started)},
		{name: "pod's later hook, not watched", program: o.Later, packet: p.tcp4, pod: true, look: 1, leaves: hooksHookHOOK_EGRESS},
		{name: "pod's later hook, an answer", program: o.Later, packet: p.tcp4, pod: true, watch: all, look: all, leaves: hooksHookHOOK_EGRESS},
		{name: "pod's not sampled, first hook, not watched", program: o.First, packet: p.tcp4, pod: true, look: 1, sampleN: never, counts: count(unsampled)},
		{name: "pod's not sampled, first hook, a request", program: o.First, packet: p.tcp4, pod: true, watch: all, look: all, sampleN: never, counts: count(unsampled)},
		{name: "pod's not sampled, first hook, an acknowledgement", program: o.First, packet: p.ack, pod: true, watch: all, look: all, sampleN: never, counts: count(unsampled)},
		{name: "pod's not sampled, later hook, not watched", program: o.Later, packet: p.tcp4, pod: true, look: 1, flags: unsampledFlag, leaves: hooksHookHOOK_EGRESS},
		{name: "tracepoint, no slot", program: o.Miss, packet: p.tcp4},
	}
}
