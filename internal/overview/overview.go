// Package overview condenses a window of counts into what a person looks at: rows by pair, flow or Service with their stages,
// the devices and their queues, packets in flight and drops, and one pair in detail. The query says which rows, by a filter, and
// in which order. It is what tracer top shows and what tracer top --once -o json prints. Times are in seconds.
package overview

import (
	"time"

	"tracer/internal/diagnose"
)

// SchemaVersion is that of Overview as JSON. Fields may be added under the same version.
const SchemaVersion = 1

// Overview is one window as tracer top shows it. It is immutable. As JSON, what is absent is null.
type Overview struct {
	SchemaVersion int `json:"schema_version"`
	About
	Taken         time.Time          `json:"taken"`
	WindowSeconds float64            `json:"window_seconds"`
	Verdict       diagnose.Verdict   `json:"verdict"`
	Summary       string             `json:"summary"` // the verdict in one sentence
	Findings      []diagnose.Finding `json:"findings"`
	// Sentences say of each finding in short what is at fault and what it does.
	Sentences []string `json:"sentences"`
	// VerdictWindowSeconds is the window that is judged: the rows' own at first, later the one that ends with it.
	VerdictWindowSeconds float64 `json:"verdict_window_seconds"`
	// Coverage is how much of the packets is seen, by device and direction, the least first.
	Coverage         []diagnose.Coverage `json:"coverage"`
	PacketsPerSecond float64             `json:"packets_per_second"`
	BitsPerSecond    float64             `json:"bits_per_second"`
	MissedPerSecond  float64             `json:"records_lost_per_second"`
	// VolumeUnknown tells of a replayed incident that the packets and bits per second of all pairs were not kept; else PairsCounted is
	// how many pairs had packets then, of which it has some.
	VolumeUnknown bool `json:"volume_unknown,omitempty"`
	PairsCounted  int  `json:"pairs_counted,omitempty"`
	By            By   `json:"by"` // what Rows are
	// Rows are those that the query's filter takes, in its order, up to its limit; RowsTotal counts them all. They are
	// null by device, whose rows are Devices, and for flows while none has been counted for a window yet.
	Rows      []Row      `json:"rows"`
	RowsTotal int        `json:"rows_total"`
	Devices   []Device   `json:"devices"`
	InFlight  []InFlight `json:"held"`
	Drops     []Drop     `json:"drops"`  // losses, the most frequent first
	Detail    *Detail    `json:"detail"` // of the pair asked for
	// Nodes are those of a cluster's overview, whose devices are named NODE:DEVICE; null in a node's own.
	Nodes []Node `json:"nodes,omitempty"`
}

// Node is one node of a cluster's overview.
type Node struct {
	Name             string           `json:"name"`
	Error            string           `json:"error"` // why its agent did not answer; "" if it did
	Version          string           `json:"version"`
	Kernel           string           `json:"kernel"`
	HooksUp          int              `json:"hooks_up"`
	HooksMissing     int              `json:"hooks_missing"`
	Verdict          diagnose.Verdict `json:"verdict"`  // "" if it did not answer
	Summary          string           `json:"summary"`  // the verdict in one sentence
	Causes           []diagnose.Cause `json:"findings"` // critical ones and warnings
	Coverage         *float64         `json:"coverage"` // the least of its devices'; null if none is known
	PacketsPerSecond float64          `json:"packets_per_second"`
	BitsPerSecond    float64          `json:"bits_per_second"`
	DropsPerSecond   float64          `json:"drops_per_second"`
	// RowsLeftOut are flows that its agent did not send, as others hurt more: they are in no row.
	RowsLeftOut int `json:"rows_left_out"`
}

// About is the tracer that counted, and how much it saw.
type About struct {
	Version       string    `json:"version"` // of the tracer that counted
	Node          string    `json:"node"`
	Kernel        string    `json:"kernel"`
	Started       time.Time `json:"started"`
	HooksUp       int       `json:"hooks_up"`
	HooksMissing  []string  `json:"hooks_missing"` // those that are not attached, or never run: hook, device and why
	SampleRatio   float64   `json:"sample_ratio"`
	RecordsMissed uint64    `json:"records_lost"` // since the start
	// WatchedOneIn is of how many connections one has its requests timed; 1, or 0 of an agent that does not say, if all have.
	WatchedOneIn uint64 `json:"watched_one_in,omitempty"`
	// SeenUnknown tells of a replayed incident that the five above were not kept.
	SeenUnknown bool `json:"seen_unknown,omitempty"`
}
