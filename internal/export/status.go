// Package export shows what was traced to others: as Prometheus metrics, as health for probes, and in full on a unix
// socket, with the client for it.
package export

import (
	"context"
	"iter"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/netdev"
	"tracer/internal/overview"
	"tracer/internal/record"
)

// Source is where all that is shown comes from. Its methods may be called by many goroutines at once.
type Source interface {
	TraceSource
	Snapshot() *aggregate.Snapshot
	// SnapshotWithoutFlows is a Snapshot without flows.
	SnapshotWithoutFlows() *aggregate.Snapshot
	Status() Status
	// Diagnose judges the last window of time.
	Diagnose(ctx context.Context, window time.Duration) (diagnose.Report, error)
	// Held are the findings that hold.
	Held() Held
	// Overviews yields one at once and then one for each of the query's intervals, until ctx ends. An error is the last
	// that it yields.
	Overviews(ctx context.Context, query overview.Query) iter.Seq2[*overview.Overview, error]
}

// Held are the findings that hold, as the agent judges all the time.
type Held struct {
	Judged   time.Time     `json:"judged"` // when it did so last; zero if it has not yet
	Findings []HeldFinding `json:"findings"`
}

// HeldFinding is one of them.
type HeldFinding struct {
	diagnose.ActiveFinding
	Role netdev.Role `json:"role"` // of its device
}

// TraceSource is what a stream of traces is made of.
type TraceSource interface {
	// Devices are those traced, with their qdiscs' counters as of now.
	Devices() []netdev.Device
	// Subscribe sends the records that want accepts, until ctx ends; then the channel is closed. want runs where
	// records are read: it must be quick. A receiver that is too slow loses records, which lost counts; it never
	// holds up the source.
	Subscribe(ctx context.Context, want func(*record.Record) bool) (records <-chan record.Record, lost func() uint64)
}

// Status is what an agent says about itself.
type Status struct {
	Version string        `json:"version"`
	Node    string        `json:"node"`
	Kernel  string        `json:"kernel"` // uname -r
	Netns   uint64        `json:"netns"`  // inode of the network namespace that is traced
	Started time.Time     `json:"started"`
	Hooks   []HookStatus  `json:"hooks"`
	Omitted []OmittedHook `json:"omitted"`
	// Journeys counts journeys by outcome since the start: finished, split, dropped; and what became of the others:
	// unsampled, collision, expired, mismatch, torn, orphan, vanished_ingress …, malformed, too_deep.
	Journeys map[string]uint64 `json:"journeys"`
	// Lost counts the records that were made and not read, by kind: journey, drop, split.
	Lost map[string]uint64 `json:"lost"`
	// SampleRatio is the share of packets that were followed since the start, 0 to 1.
	SampleRatio float64 `json:"sample_ratio"`
	// SampleOneIn and SampleBudget are the sampling in force: in each 0.1 s so many packets of each flow are followed,
	// of those beyond one in so many; with one in one all are.
	SampleOneIn    uint32          `json:"sample_one_in"`
	SampleBudget   uint32          `json:"sample_budget"`
	Programs       []ProgramStatus `json:"programs"`
	IdentityMisses uint64          `json:"identity_misses"`
	// IdentityEarly counts records that were named before it was settled who had their addresses, since too many waited.
	IdentityEarly uint64 `json:"identity_early"`
	// Identity is how the names from Kubernetes stand; null where they come from elsewhere.
	Identity *IdentityStatus `json:"identity"`
	// LastRead is when the loop that reads records last came round, with or without any.
	LastRead time.Time `json:"last_read"`
	// Hooked tells whether a device that leads to other nodes, an overlay or uplink, has its hooks.
	Hooked bool `json:"hooked"`
}

// IdentityStatus is how the names from Kubernetes stand.
type IdentityStatus struct {
	Scope     string            `json:"scope"`     // "node" or "cluster"
	Synced    map[string]bool   `json:"synced"`    // by resource: all of it has been read
	Errors    map[string]uint64 `json:"errors"`    // by resource: requests to the API server that failed
	Conflicts uint64            `json:"conflicts"` // addresses that two pods claimed at once
	Stale     bool              `json:"stale"`     // names are those of an earlier run
}

// HookStatus is a hook that is to be attached.
type HookStatus struct {
	Program string      `json:"program"`
	Hook    string      `json:"hook"`             // "ingress", "egress", or a tracepoint's name
	Device  string      `json:"device,omitempty"` // "" for a tracepoint
	Role    netdev.Role `json:"role"`
	Up      bool        `json:"up"`
	Error   string      `json:"error,omitempty"` // why not
}

// OmittedHook is a hook that is left out by plan.
type OmittedHook struct {
	Hook   string `json:"hook"`
	Device string `json:"device,omitempty"`
	Reason string `json:"reason"`
}

// ProgramStatus is what the kernel says of a BPF program.
type ProgramStatus struct {
	Program         string  `json:"program"`
	Runs            uint64  `json:"runs"`    // as Seconds, 0 unless the kernel's BPF statistics are on
	Seconds         float64 `json:"seconds"` // of run time
	RecursionMisses uint64  `json:"recursion_misses"`
}
