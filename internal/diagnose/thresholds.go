package diagnose

import (
	"fmt"
	"time"

	"tracer/internal/netdev"
)

// All figures that decide whether something is a finding, and whether it is critical, stand in this file with their
// reasons. They leave room above what a healthy and busy node does: an alarm there costs more trust than a fault that is
// called a warning.

// What every finding takes.
const (
	// minSamples is how many packets a finding takes, minCritical how many a critical one: fewer are chance.
	minSamples, minCritical = 3, 5
	// maxStrays is how many packets of a pair that loses all of them are still no alarm, as long as nothing of it came
	// through in the window: a client that tries what a policy forbids, or a pod that has gone, sends some SYNs.
	maxStrays = 10
	// minMeasured is how many packets it takes to call a queue fine, and a link that is down one that hurts.
	minMeasured = 20
	// onset is how long before the window a change may have been made that explains what is seen in it.
	onset = time.Minute
)

// Queues, by what they are: qdisc-delay, qdisc-drop, misconfiguration.
var (
	netemQueue = Threshold{
		WarnDelay: 0.001, CriticalDelay: 0.005, WarnLoss: 0.001, CriticalLoss: 0.005,
		Reason: "netem has no place on a healthy node",
	}
	// Pods' and overlay's devices and bridges are IFF_NO_QUEUE unless someone gives them a queue.
	defaultNoQueue = Threshold{
		WarnDelay: 0.001, CriticalDelay: 0.005, WarnLoss: 0.001, CriticalLoss: 0.01,
		Reason: "the device has no queue by default",
	}
	// The CNI bandwidth plugin's tbf (plugins/meta/bandwidth, latencyInMillis) drops what exceeds its 25 ms: TCP finds its
	// rate by losing a few percent there, as the pod's annotation wants it.
	podLimitQueue = Threshold{
		WarnDelay: 0.05, CriticalDelay: 0.1, WarnLoss: 0.05, CriticalLoss: 0.2,
		Reason: "a pod's bandwidth limit holds packets up to 25 ms",
	}
	// What is slow in fq was sent slowly on purpose, at tens of ms between two packets of a slow flow. It drops only beyond
	// 100 packets of a flow.
	fqQueue = Threshold{
		WarnDelay: 0.05, CriticalDelay: 0.2, WarnLoss: 0.005, CriticalLoss: 0.02,
		Reason: "fq paces flows on purpose",
	}
	// It may be any of these, so the most lenient figures hold.
	unknownQueue = Threshold{
		WarnDelay: 0.05, CriticalDelay: 0.2, WarnLoss: 0.05, CriticalLoss: 0.2,
		Reason: "which qdisc it has could not be read",
	}
	// TCP's small queues keep a fifo far below its limit.
	fifoQueue = Threshold{
		WarnDelay: 0.015, CriticalDelay: 0.02, WarnLoss: 0.005, CriticalLoss: 0.01,
		Reason: "1,000 packets of 1,500 bytes take 12 ms at 1 Gbit/s",
	}
)

// aqmQueue is for CoDel and its kin: they keep the standing queue at their target, by drops that TCP answers. Unless
// overloaded they lose less than 2 %, each of which is meant.
func aqmQueue(kind string, target time.Duration) Threshold {
	return Threshold{
		WarnDelay: max(2*target.Seconds(), 0.01), CriticalDelay: max(4*target.Seconds(), 0.02), WarnLoss: 0.02, CriticalLoss: 0.05,
		Reason: fmt.Sprintf("%s aims at %v", kind, target),
	}
}

// codelTarget is CoDel's default.
const codelTarget = 5 * time.Millisecond

// annotatedQueue is for a pod's limit that its annotation asks for: it holds what its limit takes, and drops what is more.
func annotatedQueue(d *netdev.Device) Threshold {
	latency := 0.0
	for q := range d.Root.Leaves() {
		if q.LimitUnit == "bytes" {
			latency = max(latency, float64(q.Limit)*8/float64(d.Root.ShapedTo()))
		}
	}
	return Threshold{
		WarnDelay: max(podLimitQueue.WarnDelay, 1.5*latency), CriticalDelay: max(podLimitQueue.CriticalDelay, 2.5*latency), WarnLoss: 0.2, CriticalLoss: 0.5,
		Reason: fmt.Sprintf("the pod's annotation asks for %s and no more", bitRate(d.Bandwidth)),
	}
}

// expectedQueue is for a shaper that is there on purpose: it holds what its limit takes, and drops what is more.
func expectedQueue(d *netdev.Device) Threshold {
	latency := 0.0
	for q := range d.Root.Leaves() {
		if q.LimitUnit == "bytes" && q.RateBits > 0 {
			latency = max(latency, float64(q.Limit)*8/float64(q.RateBits))
		}
		latency = max(latency, (q.Delay + q.Jitter).Seconds())
	}
	return Threshold{
		WarnDelay: max(0.05, 1.2*latency), CriticalDelay: max(0.1, 2*latency), WarnLoss: 0.1, CriticalLoss: 0.3,
		Reason: fmt.Sprintf("%s is there on purpose (--expect-qdisc)", d.Root.Kind),
	}
}

const (
	// minClassShare is the least share of a queue's packets that counts as a class of its own, and minClassPackets the
	// fewest packets of a pair that counts as part of the class: single bursts are no class.
	minClassShare   = 0.01
	minClassPackets = minMeasured
	// minInFlightAge is the least age in seconds at which packets in flight say that a queue is slow, and minInFlightShare
	// the least share of them in what came to the queue meanwhile: a few forgotten ones in a queue that moves are no finding.
	minInFlightAge   = 0.1
	minInFlightShare = 0.1
	// minAgeAlone is that age where few were late of those that left the queue: what it holds may be as old as the machine stood still just now.
	minAgeAlone = 1.0
	// wholeShare is the least share of a queue's packets that is all of them.
	wholeShare = 0.95
	// fullShare is what share of a shaper's rate is all of it: bytes are counted with and without headers, and bursts leave gaps.
	fullShare = 0.8
	// hugeBurst is a burst in bytes that nobody sets but for want of one: containerd passes 2^32 bits, others 2^31.
	hugeBurst = 1 << 27
	// minAnnotation is the least bandwidth, in bits a second, that the kubelet takes for one.
	minAnnotation = 1000
	// minFifoPackets and minFifoBytes are limits of a fifo below which it loses what a burst sends.
	minFifoPackets, minFifoBytes = 64, 64 << 10
)

// CPUs without time for packets.
const (
	// stealShare is the least share of all CPUs' time, stealOfOneShare of a single one's, that a hypervisor gives to others which makes
	// packets wait: less is usual with neighbours.
	stealShare, stealOfOneShare = 0.05, 0.15
	// idleShare is the largest share of its time that a CPU is idle which has none to spare, and softirqShare the least that it
	// spends in softirqs if these are why.
	idleShare, softirqShare = 0.03, 0.7
	// minTicks is how much of its time is known of a CPU at least, in clock ticks: a second.
	minTicks = 100
	// longestForCPU is up to which p50, in seconds, a wait in a queue may be for want of CPU, longestForSoftirq in a stage without one,
	// and mostLostForCPU up to which share a loss. Hypervisors and schedulers share time in slices of some ten milliseconds.
	longestForCPU, longestForSoftirq, mostLostForCPU = 0.25, 0.05, 0.3
	// excusedConfidence is how far a finding is to be trusted that want of CPU would explain too.
	excusedConfidence = 0.7
	// throttledShare is the least share of its periods in which a cgroup has used up its quota that slows an application down.
	throttledShare = 0.1
)

// Stages without a queue: forward-delay, encap-delay, softirq-delay.
var stageThreshold = Threshold{
	WarnDelay: 0.001, CriticalDelay: 0.005,
	Reason: "nothing is queued in this stage: forwarding and wrapping take tens of microseconds, a decrypting tunnel hundreds",
}

// minSlowShare is the least share of the pairs' packets that hurts them where nothing is queued. Of many thousand packets a few may be
// taken for others, or wait for a neighbour's answer.
const minSlowShare = 0.01

// baselineFactor is how many times the baseline is still not slow: a machine that has always been slow is no news. But the
// baseline excuses no more than maxBaselineFactor times the threshold.
const baselineFactor, maxBaselineFactor = 3, 4

// Losses outside of queues, as shares of the packets of the pairs that lose any.
var (
	policyThreshold = Threshold{
		WarnLoss: 0.005, CriticalLoss: 0.02,
		Reason: "a rule that drops now and then does what it is there for",
	}
	conntrackThreshold = Threshold{
		WarnLoss: 0.001, CriticalLoss: 0.01,
		Reason: "each is a connection that fails",
	}
	routingThreshold = Threshold{
		WarnLoss: 0.005, CriticalLoss: 0.05,
		Reason: "while pods go, some packets find no way to them",
	}
	floodedThreshold = Threshold{
		WarnLoss: 0.6, CriticalLoss: 0.6,
		Reason: "a network that floods frames shows those for a router, too, and then what the router sends on",
	}
	ttlThreshold = Threshold{
		WarnLoss: 0.005, CriticalLoss: 0.05, CriticalCount: 10,
		Reason: "a traceroute ends so on purpose",
	}
	mtuThreshold = Threshold{
		WarnLoss: 0.0025, CriticalLoss: 0.005,
		Reason: "only large packets are hit, which may be few of a pair's",
	}
	backlogThreshold = Threshold{
		WarnLoss: 0.001, CriticalLoss: 0.01,
		Reason: "a CPU that keeps up drops none",
	}
	fragmentsThreshold = Threshold{
		WarnLoss: 0.005, CriticalLoss: 0.05,
		Reason: "one fragment that is lost on the way takes the others with it",
	}
	checksumThreshold = Threshold{
		WarnLoss: 0.001, CriticalLoss: 0.005,
		Reason: "hardly any packet is damaged on a healthy link",
	}
	receiverDropThreshold = Threshold{
		WarnLoss: 0.01, CriticalLoss: 0.05,
		Reason: "a burst may fill a socket's buffer",
	}
	acceptQueueDropThreshold = Threshold{
		WarnLoss: 0.01, CriticalLoss: 0.05,
		Reason: "a burst may fill an accept queue",
	}
	unknownThreshold = Threshold{
		WarnLoss: 0.01, CriticalLoss: 0.05, CriticalCount: 20,
		Reason: "what the kernel frees without a cause that is known may be no loss",
	}
	// A packet in a socket, or at no hook before, is most often one that has been dealt with.
	unknownDeliverThreshold = Threshold{
		WarnLoss: 0.05, CriticalLoss: never,
		Reason: "in a socket the kernel frees much that was delivered",
	}
)

const (
	// minLostConnections is how many SYNs a second are no chance: where two connections clash, the second SYN passes.
	minLostConnections = 0.5
	// fewPorts is the largest range of ports that source NAT is taken to be limited to: the kernel's own has some 64,000.
	fewPorts = 4096
)

// never is a share that nothing reaches.
const never = 2

// Links: link-down.
//
// recentlyDown is for how long a device that went down is news. One that is down for longer has been given up.
const recentlyDown = 10 * time.Minute

// Pods' sockets: receiver-slow, no-listener, accept-queue-full.
var (
	receiverThreshold = Threshold{
		WarnTime: 0.25, CriticalTime: 0.5,
		Reason: "the share of the time in which the application leaves its sender no room; one that reads in bursts but keeps up stays below",
	}
	listenerThreshold = Threshold{
		WarnSeconds: 4, CriticalSeconds: 4, CriticalCount: maxStrays + 1,
		Reason: "while pods come and go some connections are refused, not for long",
	}
	acceptQueueThreshold = Threshold{
		WarnSeconds: 2, CriticalSeconds: 4,
		Reason: "a burst fills an accept queue for less than a second",
	}
)

const (
	// minFullTime is the least time in seconds for which a receive buffer is full, or a window closed.
	minFullTime = 1.0
	// minReadTime is how long a full buffer takes to be read at least, in seconds: a fast connection's buffer may be full,
	// and is read in milliseconds.
	minReadTime = 0.1
	// lastingShare is the share of the window that seconds have to be besides: in an hour there are many bursts.
	lastingShare = 0.1
	// initialRTO is after how many seconds a SYN is sent again for the first time (TCP_TIMEOUT_INIT).
	initialRTO = 1.0
)

// An application's answers: server-slow.
const (
	// slowAnswer is from which p50 on, in seconds, the time that an application has a request is told: people notice that.
	slowAnswer = 0.1
	// timedInVain is of how many requests of a connection the time may be taken before it shows that it does not alternate: twice within
	// so many, as OVERLAPS_FORGOTTEN_AFTER in bpf/watched.bpf.h has it.
	timedInVain = 64
	// heldShare is from which share of that time on it is worth a word how long packets are on their way within the pod's device.
	heldShare = 0.1
)

// Requests that have become slow beyond this node: requests-slow, server-slow.
var slowRequestThreshold = Threshold{
	WarnDelay: 0.005, CriticalDelay: never,
	Reason: "what is usual was learnt of the same pair, and nearly all take that much longer than half of them usually do",
}

const (
	// slowRequestFactor is how many times the usual they take besides: an application's time varies.
	slowRequestFactor = 3
	// slowRequestShare is how many times as long as a delay of the network they may be late for it: a request that does not fit into the window
	// goes there and back twice.
	slowRequestShare = 2
	// largeRequest is from how many bytes on a request with its answer's acknowledgements is not judged: at 100 Mbit/s it takes 2.6 ms itself.
	largeRequest = 32 << 10
	// maxServed is how many pairs a report names whose requests this node's pods have answered.
	maxServed = 100
)

// Requests without an answer: requests-unanswered.
var unansweredThreshold = Threshold{
	WarnLoss: 0.05, CriticalLoss: never,
	Reason: "clients may lose their patience, and what hangs is the application",
}

const (
	// unansweredCost is what a request without an answer counts as, in seconds: what it has waited for at least that was given up.
	unansweredCost = 1.0
	// explainingShare is which part of the share of requests without an answer a loss of packets is at least that explains them, where
	// it is a warning: a request and its answer are several packets.
	explainingShare = 0.2
)

// lasts tells whether something is seen in as many seconds of the window as it takes.
func (w *window) lasts(seconds, least uint64) bool {
	return seconds >= least && float64(seconds) >= lastingShare*w.length().Seconds()
}

// Beyond this node: remote-delay, remote-loss, mtu.
var (
	// A delayed acknowledgement takes 40 ms (TCP_DELACK_MIN) and a tick of at most 10 ms.
	remoteDelayThreshold = Threshold{
		WarnDelay: 0.06, CriticalDelay: 0.06,
		Reason: "a delayed acknowledgement would explain 40 ms",
	}
	handshakeDelayThreshold = Threshold{
		WarnDelay: 0.02, CriticalDelay: 0.02,
		Reason: "these round trips open connections, which the kernel answers at once",
	}
	usualHandshakeThreshold = Threshold{
		WarnDelay: 0.005, CriticalDelay: never,
		Reason: "these round trips open connections of the pod, and what is usual of those was learnt",
	}
	remoteLossThreshold = Threshold{
		WarnLoss: 0.01, CriticalLoss: 0.02,
		Reason: "TCP that fills a link finds its rate by losing far less",
	}
)

// A loss beyond this node that is over.
const (
	// overWithin is in how many of the window's first seconds the last segment was sent again: TCP doubles its time-out from 0.2 s on, and what
	// an outage of six seconds has stuck is sent again after 0.2, 0.6, 1.4, 3 and 6.2 s.
	overWithin = 6.5
	// overShare is for which share of the window nothing was sent again since: a link that fails again and again does so in less.
	overShare = 0.55
	// overSegments is how many segments were sent since at least: of so many, half of them lost, all pass by chance once in a thousand times.
	overSegments = 10
)

// No answer: no-answer.
var noAnswerThreshold = Threshold{
	WarnSeconds: 5, CriticalSeconds: 5,
	Reason: "TCP has tried twice more by then, after 1 and 3 seconds, and a resolver gives up; where pods go, others take over sooner",
}

const (
	// minDatagrams is how many packets without an answer count where each may be lost and nobody sends it again: where 60 %
	// are lost, ten in a row are one time in 160.
	minDatagrams = 10
	// minSampledTries is how many it takes where answers may have come that were not sampled or whose records were missed:
	// as many records are to be expected of answers as of tries.
	minSampledTries = 20
	// maxMissed is the share of records that may be missed without that: they are missed in bursts of less than a second.
	maxMissed = 0.1
	// maxInterval is the longest mean interval, in seconds, at which a request is sent: what comes once in 20 seconds keeps a
	// NAT's entry alive, and wants no answer.
	maxInterval = 5.0
	// gapFactor is how many times the longest wait of the last minute a silence lasts: where most packets are lost, there are
	// many waits.
	gapFactor = 3
	// backoff is how many times as long as it has been tried the next try may be ahead: TCP doubles its intervals, so that of
	// three tries the next comes after 4/3 of the time between first and last.
	backoff = 1.4
	// oldNameAfter is after how many seconds who still sends to a pod that has gone will not find out: names and endpoints are
	// renewed in half a minute.
	oldNameAfter = 60
	// maxElsewhere is how many other destinations that never answered make their sender one that looks for whoever is there.
	maxElsewhere = 5
	// minToPods is the least share of packets to pods in those from pods, since their devices are there, by which we know that
	// what pods receive passes these devices.
	minToPods = 0.1
)

const (
	// leastQuantile is the quantile taken as the shortest round trip: the few below it were sent before the fault began.
	leastQuantile = 0.05
	// residenceQuantile is the quantile taken as the most that this node may account for of a round trip.
	residenceQuantile = 0.95
	// remoteShare is how much of a delay or a loss has to be beyond this node where this node has a part in it: both are not
	// measured on the same packets.
	remoteShare = 0.3
	// peerLimitShare is the least share of its limit that a pod uses of which it is taken to be at the limit: one pair may be a part of
	// what it gets, and TCP that loses what is more gets less.
	peerLimitShare = 0.5
	// farDelay is the longest round trip, in seconds, that the distance of two sites of a cluster explains, where what is usual was
	// not learnt: 7,000 km of fibre.
	farDelay = 0.07
	// delayedAck is how long an acknowledgement takes at most that is delayed, in seconds: TCP_DELACK_MIN and a tick.
	delayedAck = 0.05
	// usualShare is by what share of the usual a round trip has to be longer besides: another way between the same sites.
	usualShare = 0.5
	// growthFactor is how many times the threshold round trips have to be longer than the shortest of the window, where what is usual
	// was not learnt.
	growthFactor = 2
	// unlearntConfidence is how far a delay is to be trusted that was compared with nothing learnt.
	unlearntConfidence = 0.6
	// inferredConfidence is how far a finding about what was not seen may be trusted.
	inferredConfidence = 0.8
	// minLargeSegment is the least mean size of segments, in bytes, that may be too large for a link: all links pass smaller
	// ones (536 is what TCP assumes where it knows nothing).
	minLargeSegment = 536
	// 1/recoveredShare is the largest part of repeatedly retransmitted segments that may be acknowledged in the end if the
	// link loses all large ones: where losses are random most are, and after an outage all.
	recoveredShare = 5
)

// Coverage: how much of the packets was seen.
const (
	// warnCoverage is the share below which the report says what is not seen, and blindCoverage that below which nothing that is
	// seen tells that the node is healthy.
	warnCoverage, blindCoverage = 0.95, 0.5
	// minCoveragePackets is how many packets it takes to tell a share.
	minCoveragePackets = 30
	// coverageSlack is how many packets may be missing without meaning anything: counters are read at slightly different
	// times, a packet may be between two hooks, a softirq may run where no program may.
	coverageSlack = 10
	// coverageSigmas is by how many standard deviations of the sampling a hook may have seen less than the device counted.
	coverageSigmas = 3
	// coverageLostSamples is how many sampled journeys may be without an end: each stands for all that it was sampled from.
	coverageLostSamples = 3
	// coverageDoubtFactor is how many packets to the node's own sockets are taken to have come for each that these sent, as long as it
	// was not known that they are the node's.
	coverageDoubtFactor = 3
	// silentPackets is how many packets of pods that no hook saw are no silence, where nothing else was seen.
	silentPackets = 10
	// minReadWindow is the shortest window in which records of what came in should have been read: those of an agent's first moments
	// are on their way.
	minReadWindow = time.Second
)
