package main

import "github.com/cilium/ebpf"

// never is a sampling ratio that no packet of a run meets.
const never = 1<<32 - 1

// Limits, as multiples of a program that does nothing but read the clock.
const (
	hookLimit      = 1.7
	lastLimit      = 2.6
	unsampledLimit = 0.3
	// What the requests of pods are to cost besides: 3 ns of a packet whose connection is not followed, 15 ns of one whose is, where a clock read takes 23.
	passLimit   = 0.13
	followLimit = 0.65
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
	// connection is what each repeat finds of the packet's; nil if it does not matter. than is the scenario of which the time is taken off, without
	// a pod's device.
	connection *connection
	than       string
	// Each repeat counts these, and nothing else; or it leaves the slot in use, with this hook as its last.
	counts []hooksCounter
	leaves hooksHook
	limit  float64 // times a clock read; 0: none
	aim    bool    // the limit is not enforced: it is not kept yet
}

// connection is what is known of a watched one when its packet comes, and when it has passed.
type connection struct {
	unwatched bool // it is to begin
	state     hooksWatchedState
	next      [2]uint32 // by side, behind the payload that has passed
	leaves    hooksWatchedState
	records   int // of what is asked, by each repeat
}

// The scenarios that the others are set against.
const (
	emptyName = "empty program"
	clockName = "bpf_ktime_get_ns"
	// wrapperName is what all behind it begin with; it is taken off them as well.
	wrapperName = "wrapper alone"
	// connectionName is what those with a connection take besides, to find it as it was.
	connectionName = "wrapper, with a connection"

	firstTCP, laterTCP, firstUnsampled = "first hook, TCP over IPv4", "later hook, TCP over IPv4", "not sampled, first hook"
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
		{name: firstTCP, program: o.First, packet: p.tcp4, counts: count(started), limit: hookLimit},
		{name: "first hook, TCP over IPv6", program: o.First, packet: p.tcp6, counts: count(started), limit: hookLimit},
		{name: "first hook, UDP over IPv4", program: o.First, packet: p.udp4, counts: count(started), limit: hookLimit},
		{name: "first hook, IP options", program: o.First, packet: p.options, counts: count(started)},
		{name: laterTCP, program: o.Later, packet: p.tcp4, leaves: hooksHookHOOK_EGRESS, limit: hookLimit},
		{name: "later hook, in IPIP", program: o.Later, packet: p.ipip, leaves: hooksHookHOOK_EGRESS, limit: hookLimit},
		{name: "later hook, in VXLAN", program: o.Later, packet: p.vxlan, leaves: hooksHookHOOK_EGRESS, limit: hookLimit},
		{name: "dequeue", program: o.Dequeue, packet: p.tcp4, leaves: hooksHookHOOK_DEQUEUE, limit: hookLimit},
		{name: "xmit", program: o.StartXmit, packet: p.tcp4, leaves: hooksHookHOOK_XMIT, limit: hookLimit},
		{name: "last xmit, with its record", program: o.StartXmit, packet: p.tcp4, flags: leavesFlag, counts: count(finished), limit: lastLimit},
		{name: "drop, with its record", program: o.FreeSkb, packet: p.tcp4, flags: leavesFlag, counts: count(drop)},
		{name: firstUnsampled, program: o.First, packet: p.tcp4, sampleN: never, counts: count(unsampled), limit: unsampledLimit, aim: true},
		{name: "not sampled, later hook", program: o.Later, packet: p.tcp4, flags: unsampledFlag, leaves: hooksHookHOOK_EGRESS, limit: unsampledLimit},
		{name: "not sampled, xmit", program: o.StartXmit, packet: p.tcp4, flags: unsampledFlag, leaves: hooksHookHOOK_XMIT, limit: unsampledLimit},
		{name: connectionName, program: o.Wrapper, packet: p.tcp4, leaves: hooksHookHOOK_INGRESS, connection: &connection{}},
		{name: "not followed, pod's first hook", program: o.First, packet: p.tcp4, pod: true, look: 1, counts: count(started), than: firstTCP, limit: passLimit, aim: true},
		{name: "not followed, pod's later hook", program: o.Later, packet: p.tcp4, pod: true, look: 1, leaves: hooksHookHOOK_EGRESS, than: laterTCP, limit: passLimit, aim: true},
		{name: "not followed, not sampled", program: o.First, packet: p.tcp4, pod: true, look: 1, sampleN: never, counts: count(unsampled), than: firstUnsampled, limit: passLimit, aim: true},
		{name: "acknowledgement, first hook", program: o.First, packet: p.ack, pod: true, watch: all, look: all, counts: count(started), than: firstTCP, limit: passLimit, aim: true},
		{name: "acknowledgement, later hook", program: o.Later, packet: p.ack, pod: true, watch: all, look: all, leaves: hooksHookHOOK_EGRESS, than: laterTCP, limit: passLimit, aim: true},
		{name: "question, first hook", program: o.First, packet: p.tcp4, pod: true, watch: all, look: all, counts: count(started), than: firstTCP, limit: followLimit, aim: true,
			connection: &connection{state: hooksWatchedStateWATCHED_IDLE, next: [2]uint32{1000, 0}, leaves: hooksWatchedStateWATCHED_ASKED}},
		{name: "question sent again, first hook", program: o.First, packet: p.tcp4, pod: true, watch: all, look: all, counts: count(started), than: firstTCP, limit: followLimit, aim: true},
		{name: "question, not sampled", program: o.First, packet: p.tcp4, pod: true, watch: all, look: all, sampleN: never, counts: count(unsampled), than: firstUnsampled, limit: followLimit, aim: true,
			connection: &connection{state: hooksWatchedStateWATCHED_IDLE, next: [2]uint32{1000, 0}, leaves: hooksWatchedStateWATCHED_ASKED}},
		{name: "second packet of a question", program: o.First, packet: p.tcp4, pod: true, watch: all, look: all, counts: count(started), than: firstTCP, limit: followLimit, aim: true,
			connection: &connection{state: hooksWatchedStateWATCHED_ASKED, next: [2]uint32{1000, 0}, leaves: hooksWatchedStateWATCHED_ASKED}},
		{name: "answer, with its record", program: o.Later, packet: p.answer, pod: true, watch: all, look: all, leaves: hooksHookHOOK_EGRESS, than: laterTCP, limit: followLimit, aim: true,
			connection: &connection{state: hooksWatchedStateWATCHED_ASKED, next: [2]uint32{1064, 1000}, leaves: hooksWatchedStateWATCHED_IDLE, records: 1}},
		{name: "second packet of an answer", program: o.Later, packet: p.answer, pod: true, watch: all, look: all, leaves: hooksHookHOOK_EGRESS, than: laterTCP, limit: followLimit, aim: true,
			connection: &connection{state: hooksWatchedStateWATCHED_IDLE, next: [2]uint32{1064, 1000}, leaves: hooksWatchedStateWATCHED_IDLE}},
		{name: "SYN of a new connection", program: o.First, packet: p.syn, pod: true, watch: all, look: all, counts: count(started), than: firstTCP, limit: followLimit, aim: true,
			connection: &connection{unwatched: true, leaves: hooksWatchedStateWATCHED_OPENING}},
		{name: "SYN-ACK, with its record", program: o.Later, packet: p.synACK, pod: true, watch: all, look: all, leaves: hooksHookHOOK_EGRESS, than: laterTCP, limit: followLimit, aim: true,
			connection: &connection{state: hooksWatchedStateWATCHED_OPENING, next: [2]uint32{1001, 0}, leaves: hooksWatchedStateWATCHED_IDLE, records: 1}},
		{name: "tracepoint, no slot", program: o.Miss, packet: p.tcp4},
	}
}
