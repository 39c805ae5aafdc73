package aggregate

import (
	"net/netip"
	"time"

	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// Identity says who is behind an address. The zero Identity is nobody known.
type Identity struct {
	Namespace string `json:"namespace,omitempty"`
	Pod       string `json:"pod,omitempty"`
	Workload  string `json:"workload,omitempty"` // the owner as people name it; NodeWorkload and its like for no pod
	Service   string `json:"service,omitempty"`  // of a Service's virtual address
	Node      string `json:"node,omitempty"`
	// Bandwidth is how many bits a second the pod is to receive at most, by its annotation; 0 if it has none.
	Bandwidth uint64 `json:"bandwidth_bits,omitempty"`
	// Stale marks a name of an earlier run that nobody has confirmed yet.
	Stale bool `json:"stale,omitempty"`
}

// Namer tells who was behind an address. Its Lookup is called on the hot path: it must not block or allocate.
type Namer interface {
	// Lookup names who had the address at that time (CLOCK_MONOTONIC).
	Lookup(address netip.Addr, at time.Duration) Identity
}

// VersionedNamer is a Namer that tells when its answers change, so that it need not be asked for each packet.
type VersionedNamer interface {
	Namer
	// Version changes whenever answers may, and is never 0. As long as it stays, an address has the same name at all
	// times from since on.
	Version() (version uint64, since time.Duration)
}

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

// DropKey is where and why packets were lost.
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
}

// Pair is what one pair's packets met since the start.
type Pair struct {
	PairKey
	Service string         `json:"service,omitempty"` // namespace/name, where the packets were sent to a virtual address
	Packets float64        `json:"packets"`           // segments, weighted
	Bytes   float64        `json:"bytes"`             // inner IP bytes, weighted
	Path    hist.Histogram `json:"path"`              // whole residence on this node, seconds
	Stages  []StageDelay   `json:"stages"`
	Drops   []DropCount    `json:"drops"`
	TCP     *TCP           `json:"tcp,omitempty"` // nil if no connection of it was looked at
}

// Flow is what one flow's packets met since the start.
type Flow struct {
	First     record.Flow       `json:"first"`
	Last      record.Flow       `json:"last"`
	Src       Identity          `json:"src"`
	Dst       Identity          `json:"dst"`
	Direction journey.Direction `json:"direction"`
	Packets   float64           `json:"packets"`
	Bytes     float64           `json:"bytes"`
	Path      hist.Histogram    `json:"path"`
	// Stages are those that its packets were timed in, as far as there is room for them.
	Stages []StageTime `json:"stages"`
	Drops  uint64      `json:"drops"`
	TCP    FlowTCP     `json:"tcp"`
	// DropReason is why the last of them was lost.
	DropReason string        `json:"drop_reason,omitempty"`
	LastSeen   time.Duration `json:"last_seen"` // CLOCK_MONOTONIC
}

// StageTime is how long packets were in a stage, all together.
type StageTime struct {
	StageKey
	Count   uint64  `json:"count"` // sk_buffs, weighted
	Seconds float64 `json:"seconds"`
}

// InFlightPair is one pair's part of a Held.
type InFlightPair struct {
	PairKey
	Packets float64 `json:"packets"`        // weighted
	Oldest  float64 `json:"oldest_seconds"` // age at the last hook
}

// InFlight are the open journeys at one place: packets that went in and did not come out yet.
type InFlight struct {
	StageKey
	Packets float64        `json:"packets"`        // weighted
	Oldest  float64        `json:"oldest_seconds"` // age at the last hook
	Ages    hist.Histogram `json:"ages"`           // seconds
	Pairs   []InFlightPair `json:"pairs"`          // at most 64, most packets first
}

// Snapshot is all that is known at one moment. It is immutable and may be read by many at once. Counts and
// histograms grow since the start of the aggregator; Since gives a window of them.
type Snapshot struct {
	Taken    time.Time     `json:"taken"`
	Window   time.Duration `json:"window"` // how much time the counts cover
	Stages   []StageDelay  `json:"stages"` // by device, all pairs together
	Drops    []DropCount   `json:"drops"`  // by device, all pairs together
	Pairs    []Pair        `json:"pairs"`  // bounded; the rest is in the pair "_other"
	Flows    []Flow        `json:"flows"`  // bounded; the least recently seen leave first
	InFlight []InFlight    `json:"held"`   // as last scanned, not cumulative
	Records  uint64        `json:"records"`
	// MissedRecords counts records that the kernel made and nobody read. They are made up for in the weights.
	MissedRecords uint64 `json:"lost"`
	// Mismatches counts records that make no path: an unknown device, hooks out of order.
	Mismatches uint64 `json:"mismatches"`
	// PairOverflow counts records whose pair did not fit; FlowOverflow flows that were evicted.
	PairOverflow uint64 `json:"pair_overflow"`
	FlowOverflow uint64 `json:"flow_overflow"`
}
