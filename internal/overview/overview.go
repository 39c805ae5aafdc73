// Package overview condenses a window of counts into what a person looks at: rows by pair, flow or service, the
// devices, what is held and what is lost, and one pair in detail.
package overview

import (
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/trace"
)

// SchemaVersion is that of Overview as JSON. Fields may be added under the same version.
const SchemaVersion = 1

// Overview is a window as a person looks at it. It is immutable. As JSON, what is absent is null.
type Overview struct {
	SchemaVersion int `json:"schema_version"`
	About
	Taken            time.Time          `json:"taken"`
	WindowSeconds    float64            `json:"window_seconds"`
	Verdict          diagnose.Verdict   `json:"verdict"`
	Summary          string             `json:"summary"` // the verdict in one sentence
	Findings         []diagnose.Finding `json:"findings"`
	PacketsPerSecond float64            `json:"packets_per_second"`
	BitsPerSecond    float64            `json:"bits_per_second"`
	LostPerSecond    float64            `json:"records_lost_per_second"`
	By               By                 `json:"by"` // what Rows are
	// Rows are those that the query's filter takes, in its order, up to its limit; RowsTotal counts them all. They are
	// null by device, whose rows are Devices, and for flows while none has been counted for a window yet.
	Rows      []Row    `json:"rows"`
	RowsTotal int      `json:"rows_total"`
	Devices   []Device `json:"devices"`
	Held      []Held   `json:"held"`
	Drops     []Drop   `json:"drops"`  // losses, the most frequent first
	Detail    *Detail  `json:"detail"` // of the pair asked for
}

// About is what is said of who counted.
type About struct {
	Version     string    `json:"version"` // of the tracer that counted
	Node        string    `json:"node"`
	Kernel      string    `json:"kernel"`
	Started     time.Time `json:"started"`
	HooksUp     int       `json:"hooks_up"`
	Missing     []string  `json:"hooks_missing"` // hook, device and why
	SampleRatio float64   `json:"sample_ratio"`
	RecordsLost uint64    `json:"records_lost"` // since the start
}

// Row is one pair of workloads, flow or service.
type Row struct {
	Src              End               `json:"src"`
	Dst              End               `json:"dst"`
	Service          string            `json:"service,omitempty"`  // namespace/name
	Protocol         string            `json:"protocol,omitempty"` // of a flow
	Pairs            int               `json:"pairs,omitempty"`    // how many a service's row stands for
	Direction        journey.Direction `json:"direction"`
	PacketsPerSecond float64           `json:"packets_per_second"`
	BitsPerSecond    float64           `json:"bits_per_second"`
	Path             *Delay            `json:"path"`   // whole time on this node; null if nothing came through
	Stages           []Stage           `json:"stages"` // in the order in which packets meet them
	Worst            *Place            `json:"worst"`  // where most of the time goes
	Drops            Drops             `json:"drops"`
	TCP              *TCP              `json:"tcp"`  // null if no connection of it was looked at
	Held             float64           `json:"held"` // packets that are inside now, in its worst place
	OldestSeconds    float64           `json:"oldest_seconds"`
	// Pain is the extra time of its packets, in seconds each second, by the formula that orders findings too
	// (aggregate.Excess, aggregate.Pair.RTO): what they spend here beyond the baseline, and for each packet lost the time
	// until it is sent again.
	Pain float64 `json:"pain"`
}

// Key names the row's pair.
func (r *Row) Key() aggregate.PairKey {
	return aggregate.PairKey{
		SrcNamespace: r.Src.Namespace, SrcWorkload: r.Src.Workload,
		DstNamespace: r.Dst.Namespace, DstWorkload: r.Dst.Workload, Direction: r.Direction,
	}
}

// End is who sends or receives.
type End struct {
	Namespace string `json:"namespace,omitempty"`
	Workload  string `json:"workload,omitempty"`
	Pod       string `json:"pod,omitempty"`     // of a flow
	Address   string `json:"address,omitempty"` // of a flow, with its port
}

// Delay is a distribution in seconds.
type Delay struct {
	P50 float64 `json:"p50_seconds"`
	P99 float64 `json:"p99_seconds"`
}

// Place is a stage at a device.
type Place struct {
	Stage  journey.Stage `json:"stage"`
	Device string        `json:"device"`
}

// Stage is what a row's packets met in one.
type Stage struct {
	Place
	Packets uint64   `json:"packets"` // sk_buffs that were timed
	Delay   *Delay   `json:"delay"`   // null if none was, and for flows, of which only the mean is kept
	Mean    float64  `json:"mean_seconds"`
	Share   float64  `json:"share"`         // of the path's time
	Usual   *float64 `json:"usual_seconds"` // up to which nothing is said
	// Baseline is the usual p50 as it was learnt here; null if nothing was, or not yet.
	Baseline *float64 `json:"baseline_p50_seconds"`
	Slow     bool     `json:"slow"` // beyond Usual
	Held     float64  `json:"held"`
	Oldest   float64  `json:"oldest_seconds"`
}

// Drops are how much is lost, and the main reason.
type Drops struct {
	Packets   uint64  `json:"packets"` // sk_buffs
	PerSecond float64 `json:"per_second"`
	Reason    string  `json:"reason,omitempty"`
}

// Device is one device: its queue and what passes it.
type Device struct {
	Name      string       `json:"name"`
	Role      netdev.Role  `json:"role"`
	Kind      string       `json:"kind"`
	Up        bool         `json:"up"`
	Root      netdev.Qdisc `json:"root_qdisc"`
	Changed   *time.Time   `json:"qdisc_changed"`
	RxPackets float64      `json:"rx_packets_per_second"`
	TxPackets float64      `json:"tx_packets_per_second"`
	RxBits    float64      `json:"rx_bits_per_second"`
	TxBits    float64      `json:"tx_bits_per_second"`
	// Queue is how long packets wait in its queue; null if there is none or nothing came out. Pods' devices share one.
	Queue          *Delay   `json:"queue"`
	Usual          *float64 `json:"usual_seconds"`
	Baseline       *float64 `json:"baseline_p50_seconds"`
	Held           float64  `json:"held"`
	OldestSeconds  float64  `json:"oldest_seconds"`
	BacklogPackets uint64   `json:"backlog_packets"`
	BacklogBytes   uint64   `json:"backlog_bytes"`
	// DropsPerSecond is the qdisc's own count and that of the device.
	DropsPerSecond float64  `json:"drops_per_second"`
	Unusual        []string `json:"unusual"` // what is not as it should be
}

// Held are packets that went in and have not come out.
type Held struct {
	Place
	Direction journey.Direction `json:"direction"`
	Packets   float64           `json:"packets"`
	Oldest    float64           `json:"oldest_seconds"`
}

// Drop is where and why packets were lost.
type Drop struct {
	Place
	Direction journey.Direction `json:"direction"`
	Reason    string            `json:"reason"`
	Location  string            `json:"location"`
	Packets   uint64            `json:"packets"`
	PerSecond float64           `json:"per_second"`
}

// Detail is one pair, looked at closely.
type Detail struct {
	Row     Row           `json:"row"`
	Held    []Held        `json:"held"`
	Drops   []Drop        `json:"drops"`
	History []Trend       `json:"history"`
	Slow    []trace.Trace `json:"slow"` // the slowest journeys that ended in the window, the slowest first
}

// Trend is the p50 of a pair's stage over the last minutes, the oldest first; null where nothing passed.
type Trend struct {
	Place
	EverySeconds float64    `json:"every_seconds"`
	P50          []*float64 `json:"p50_seconds"`
}
