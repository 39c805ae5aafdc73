package diagnose

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"time"

	"tracer/internal/journey"
)

// SchemaVersion is that of Report as JSON.
const SchemaVersion = 1

// Verdict is what a Report comes to.
type Verdict string

// The verdicts.
const (
	Healthy   Verdict = "healthy" // nothing, or warnings and what is on purpose
	Fault     Verdict = "fault"   // at least one finding is critical
	NoTraffic Verdict = "no-traffic"
	Blind     Verdict = "blind" // packets passed, and too few of them were seen to say how they fare
)

// Severity is how much a finding hurts.
type Severity string

// The severities.
const (
	Critical Severity = "critical" // it hurts the pairs it names
	Warning  Severity = "warning"  // it is not as it should be
	Info     Severity = "info"     // it is as somebody wants it, may be as it should be, or is over; it may explain what is seen
)

// Kind is what packets suffer.
type Kind string

// The kinds of findings.
const (
	KindDelay            Kind = "delay"
	KindDrop             Kind = "drop"
	KindRetransmit       Kind = "retransmit"
	KindMisconfiguration Kind = "misconfiguration"
)

// Report is a diagnosis. As JSON, what is absent is null.
type Report struct {
	SchemaVersion int        `json:"schema_version"`
	Node          string     `json:"node"`
	Started       time.Time  `json:"started"` // of the window
	WindowSeconds float64    `json:"window_seconds"`
	Verdict       Verdict    `json:"verdict"`
	Summary       string     `json:"summary"`  // one sentence
	Findings      []Finding  `json:"findings"` // the principal one first
	Coverage      []Coverage `json:"coverage"` // of devices that carry pods' traffic, the least first
	Checked       []Checked  `json:"checked"`  // at most 10, those with most packets first
	CheckedTotal  int        `json:"checked_total"`
	// Served are the pairs whose requests pods of this node have answered, at most 100, the busiest first.
	Served []Pair `json:"served,omitempty"`
}

// Finding is one cause at one place.
type Finding struct {
	Kind       Kind              `json:"kind"`
	Cause      Cause             `json:"cause"`
	Severity   Severity          `json:"severity"`
	Stage      journey.Stage     `json:"stage"` // this and the next two are "" and null where they are none of this node's
	Device     string            `json:"device"`
	Direction  journey.Direction `json:"direction"`
	Confidence float64           `json:"confidence"` // in (0, 1]; see confidence
	Delay      *Delay            `json:"delay"`
	Drops      *Drops            `json:"drops"`
	Pairs      []Pair            `json:"pairs"` // at most 10, those hurt most first
	PairsTotal int               `json:"pairs_total"`
	Evidence   []string          `json:"evidence"`
	Next       []string          `json:"next"` // commands that show more
	Text       string            `json:"text"` // its sentence

	// pain is the extra time that packets spend for it, in seconds each second; see aggregate.Excess and aggregate.Pair.RTO.
	pain float64
	// Of the summary's sentence: what is at fault ("tunl0 egress queue"), what it does ("drops 10 %"), and why, or "".
	// Findings with one subject share a sentence.
	subject, predicate, reason string
	beyond                     bool // beyond this node
	ofCard                     bool // by a network card's own counters
}

// Sentence says in short what is at fault and what it does.
func (f *Finding) Sentence() string {
	return cmp.Or(strings.TrimSpace(f.subject+" "+f.predicate), f.Text)
}

// HasBaseline tells whether the finding's delay was compared with what is usual.
func (f *Finding) HasBaseline() bool { return f.Delay != nil && f.Delay.Baseline != nil }

// MarshalJSON writes null for a place that is none of this node's.
func (f Finding) MarshalJSON() ([]byte, error) {
	type plain Finding // without this method
	return json.Marshal(struct {
		Stage     *string `json:"stage"`
		Device    *string `json:"device"`
		Direction *string `json:"direction"`
		plain
	}{known(string(f.Stage)), known(f.Device), known(string(f.Direction)), plain(f)})
}

// known is nil for "".
func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// Delay is how long packets stay in the stage, those of the pairs that it hurts.
type Delay struct {
	P50      *float64 `json:"p50_seconds"` // null if none came out
	P99      *float64 `json:"p99_seconds"`
	InFlight uint64   `json:"held"`                 // packets in there now
	Oldest   *float64 `json:"oldest_seconds"`       // age of the oldest of them; null if there is none
	Baseline *float64 `json:"baseline_p50_seconds"` // the usual p50, as learnt here; null if it is not known
	Share    *float64 `json:"share_of_path"`        // of the time that the pairs' packets spend on this node
}

// Drops is how much is lost in the stage.
type Drops struct {
	Packets uint64   `json:"packets"` // sk_buffs
	Ratio   *float64 `json:"ratio"`   // of the packets that came to the stage
	Reason  string   `json:"reason"`  // the kernel's, the most frequent one
}

// Pair is two workloads, as namespace/name.
type Pair struct {
	Src     string  `json:"src"`
	Dst     string  `json:"dst"`
	Service *string `json:"service"` // null if they talk without one
	// EndpointOf is the Service that dst is an endpoint of, where packets are sent to that itself.
	EndpointOf string `json:"endpoint_of,omitempty"`
	// Addresses are those of one of their conversations, by which others know who they are; null if they are not known.
	Addresses *PairAddresses `json:"addresses"`
	// Requests are those of Src to Dst, where the report is about them.
	Requests *RequestTimes `json:"requests,omitempty"`
}

// PairAddresses are those of the ends of a conversation.
type PairAddresses struct {
	Src netip.Addr `json:"src"`
	Dst netip.Addr `json:"dst"`
}

// WarningHeading is the word above a healthy verdict where something is not as it should be.
const WarningHeading = "WARNING"

// Heading is the word that stands above a verdict for people: the verdict, or WarningHeading.
func Heading(v Verdict, findings []Finding) string {
	if v == Healthy && slices.ContainsFunc(findings, func(f Finding) bool { return f.Severity == Warning }) {
		return WarningHeading
	}
	return strings.ToUpper(strings.ReplaceAll(string(v), "-", " "))
}

// ExitCode is what `tracer diagnose` exits with: 0 healthy or warnings only, 2 fault, 3 no traffic seen or blind.
func (r *Report) ExitCode() int {
	switch r.Verdict {
	case Fault:
		return 2
	case NoTraffic, Blind:
		return 3
	}
	return 0
}
