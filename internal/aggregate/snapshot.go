package aggregate

import (
	"net/netip"
	"time"

	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// PairKey is who talks to whom, by workload, and which way the packets go on this node.
type PairKey struct {
	SrcNamespace string            `json:"src_namespace"`
	SrcWorkload  string            `json:"src_workload"`
	DstNamespace string            `json:"dst_namespace"`
	DstWorkload  string            `json:"dst_workload"`
	Direction    journey.Direction `json:"direction"`
}

// StageKey is a stage at a device.
type StageKey struct {
	Stage     journey.Stage     `json:"stage"`
	Device    string            `json:"device"` // real name of overlay and uplink; "pod" for all pods' devices together
	Direction journey.Direction `json:"direction"`
}

// StageDelay is the distribution of a stage's delay in seconds, by sk_buff.
type StageDelay struct {
	StageKey
	Delay hist.Histogram `json:"delay"`
	// Untimed counts sk_buffs that passed the stage without a delay that is its own.
	Untimed uint64 `json:"untimed,omitempty"`
}

// Passed is how many sk_buffs left the stage, timed or not.
func (s *StageDelay) Passed() uint64 { return s.Delay.Count() + s.Untimed }

// DropKey is where and why packets were dropped.
type DropKey struct {
	StageKey
	Reason   string `json:"reason"`   // the kernel's, e.g. "QDISC_DROP"; "NOT_SPECIFIED" where it gives none
	Location string `json:"location"` // symbol that freed the packet
	// Loss is false for what the kernel frees without it being a loss (SKB_CONSUMED, OTHERHOST …).
	Loss bool `json:"loss"`
}

// DropCount counts drops since the start.
type DropCount struct {
	DropKey
	Packets  uint64 `json:"packets"` // sk_buffs
	Segments uint64 `json:"segments"`
	SYNs     uint64 `json:"syns,omitempty"` // of those packets, the ones that asked for a connection of TCP
}

// Pair is what happened to one pair's packets since the start.
type Pair struct {
	PairKey
	Service string `json:"service,omitempty"` // namespace/name, where the packets were sent to a virtual address
	// EndpointOf is the Service, as namespace/name, that their destination is an endpoint of, where they were sent to that itself:
	// so it is where sockets are given an endpoint in place of the Service's address, and where somebody knows the endpoint's.
	EndpointOf string         `json:"endpoint_of,omitempty"`
	Packets    float64        `json:"packets"`           // segments, weighted
	Bytes      float64        `json:"bytes"`             // inner IP bytes, weighted
	Path       hist.Histogram `json:"path"`              // whole residence on this node, seconds
	Untimed    uint64         `json:"untimed,omitempty"` // sk_buffs, weighted, that passed and whose residence is not known
	Stages     []StageDelay   `json:"stages"`
	Drops      []DropCount    `json:"drops"`
	TCP        *TCP           `json:"tcp,omitempty"` // nil if there was no record of its connections
	// Requests are those of the first workload to the second; nil if none was timed.
	Requests *Requests `json:"requests,omitempty"`
	// Ends are those of its flow that was last given its names, Dropped those of its packet that was lost last; nil if there was
	// none.
	Ends    *Ends `json:"-"`
	Dropped *Ends `json:"-"`
	// SourceNAT is with what source NAT let its packets leave, as far as seen since the start.
	SourceNAT SourceNAT `json:"source_nat,omitzero"`
	// BareAnswers are those of its packets that NAT should have translated back.
	BareAnswers BareAnswers `json:"bare_answers,omitzero"`
}

// SourceNAT is the address that source NAT gave to packets last, and the least and the greatest port that it gave with it.
type SourceNAT struct {
	Address netip.Addr `json:"address"`
	Low     uint16     `json:"low_port"`
	High    uint16     `json:"high_port"`
}

// observe notes the source that a packet left with.
func (n *SourceNAT) observe(source netip.AddrPort) {
	if source.Addr() != n.Address {
		*n = SourceNAT{Address: source.Addr(), Low: source.Port(), High: source.Port()}
	}
	n.Low, n.High = min(n.Low, source.Port()), max(n.High, source.Port())
}

// Passed is how many sk_buffs passed this node, weighted.
func (p *Pair) Passed() uint64 { return p.Path.Count() + p.Untimed }

// Flow is what happened to one flow's packets since the start.
type Flow struct {
	First     record.Flow       `json:"first"`
	Last      record.Flow       `json:"last"`
	Src       Identity          `json:"src"`
	Dst       Identity          `json:"dst"`
	Direction journey.Direction `json:"direction"`
	Packets   float64           `json:"packets"`
	Bytes     float64           `json:"bytes"`
	Path      hist.Histogram    `json:"path"`
	// Stages are the first few in which its packets were timed.
	Stages []StageTime `json:"stages"`
	Drops  uint64      `json:"drops"`
	TCP    FlowTCP     `json:"tcp"`
	// DropReason is that of the last drop.
	DropReason string        `json:"drop_reason,omitempty"`
	LastSeen   time.Duration `json:"last_seen"` // CLOCK_MONOTONIC
}

// StageTime is how long packets were in a stage, all their delays together.
type StageTime struct {
	StageKey
	Count   uint64  `json:"count"` // sk_buffs, weighted
	Seconds float64 `json:"seconds"`
}

// InFlightPair is one pair's part of an InFlight.
type InFlightPair struct {
	PairKey
	Packets float64 `json:"packets"`        // weighted
	Oldest  float64 `json:"oldest_seconds"` // age at the last hook
}

// InFlight are the packets in flight in one stage: they entered it and have not left it yet.
type InFlight struct {
	StageKey
	Packets float64        `json:"packets"`        // weighted
	Oldest  float64        `json:"oldest_seconds"` // age at the last hook
	Ages    hist.Histogram `json:"ages"`           // seconds
	Pairs   []InFlightPair `json:"pairs"`          // at most 64, most packets first
}

// Snapshot is all that was counted up to one time. It is immutable, for any number of readers. Counts and histograms are
// since the start of the aggregator; those of a window are made by Since.
type Snapshot struct {
	Taken    time.Time     `json:"taken"`
	Clock    time.Duration `json:"clock"`  // CLOCK_MONOTONIC when it was taken
	Window   time.Duration `json:"window"` // the time that the counts cover
	Stages   []StageDelay  `json:"stages"` // by device, all pairs together
	Drops    []DropCount   `json:"drops"`  // by device, all pairs together
	Pairs    []Pair        `json:"pairs"`  // bounded; what did not fit is in the pair of OtherWorkload
	Flows    []Flow        `json:"flows"`  // bounded; the last seen first
	InFlight []InFlight    `json:"held"`   // by the last scan, not cumulative
	// Unanswered are conversations that were without an answer when the snapshot was taken, at most 256, those since longest first.
	Unanswered []Unanswered `json:"unanswered"`
	// Blocked are conversations of which all that one end sends is lost on this node, at most 64, those with most packets first.
	Blocked []Blocked `json:"blocked,omitempty"`
	// AnswersSeen counts what TCP says that it received in conversations of which a hook saw something coming in lately,
	// AnswersUnseen in those of which none did. Those to the node's own sockets are in neither: they may come by a single hook.
	AnswersSeen   uint64 `json:"answers_seen"`
	AnswersUnseen uint64 `json:"answers_unseen"`
	Records       uint64 `json:"records"`
	// MissedRecords counts records that found no room in the ring buffer. The weights of the others make up for them.
	MissedRecords uint64 `json:"lost"`
	// Pathless counts records that make no path, as their device is unknown or their hooks are out of order.
	Pathless uint64 `json:"mismatches"`
	// PairOverflow counts records whose pair did not fit; FlowOverflow flows that were evicted.
	PairOverflow uint64 `json:"pair_overflow"`
	FlowOverflow uint64 `json:"flow_overflow"`
}

// Snapshot returns all that was counted so far. It keeps Add waiting only while it copies what has changed since the last one.
func (a *Aggregator) Snapshot() *Snapshot { return a.snapshot(true) }

// SnapshotWithoutFlows is a Snapshot without the flows, which are most of it.
func (a *Aggregator) SnapshotWithoutFlows() *Snapshot { return a.snapshot(false) }

func (a *Aggregator) snapshot(flows bool) *Snapshot {
	a.mu.Lock()
	taken := a.now()
	s := &Snapshot{
		Taken:         taken,
		Clock:         a.clock + taken.Sub(a.started),
		Window:        taken.Sub(a.started),
		Stages:        make([]StageDelay, 0, len(a.stages)),
		Drops:         make([]DropCount, 0, len(a.drops)),
		Pairs:         make([]Pair, 0, len(a.pairs)),
		InFlight:      a.inFlight,
		Unanswered:    a.unanswered(taken),
		Blocked:       a.blocked(taken),
		AnswersSeen:   a.tcpAnswers.seen,
		AnswersUnseen: a.tcpAnswers.unseen,
		Records:       a.records,
		MissedRecords: a.missedRecords,
		Pathless:      a.pathless,
		PairOverflow:  a.pairOverflow,
		FlowOverflow:  a.flowOverflow,
	}
	for _, st := range a.stages {
		s.Stages = append(s.Stages, st.snapshot())
	}
	for _, d := range a.drops {
		s.Drops = append(s.Drops, *d)
	}
	for _, p := range a.pairs {
		s.Pairs = append(s.Pairs, p.snapshot())
	}
	if flows {
		s.Flows = make([]Flow, 0, len(a.flows))
		for f := a.lru.newest; f != nil; f = f.older {
			s.Flows = append(s.Flows, f.snapshot())
		}
	}
	a.mu.Unlock()
	s.sort()
	return s
}
