// Package cluster makes one verdict of those of a cluster's nodes.
package cluster

import (
	"net/netip"
	"time"

	"tracer/internal/diagnose"
)

// SchemaVersion is that of Report as JSON.
const SchemaVersion = 1

// Answer is what a node's agent said, or why it did not.
type Answer struct {
	Node    string
	Version string           // of the agent; "" if it is not known
	Report  *diagnose.Report // nil if it did not answer
	Err     error            // why
	// Asked is when it was asked, and At when it answered, by the clock of who asked: its window ended between them. Both are zero where all
	// answered at once.
	Asked, At time.Time
	// Held are the findings that it has followed, if SuggestCordon is to be asked.
	Held []Held
}

// Place is who has an address, as the API server says.
type Place struct {
	Namespace, Workload string
	Node                string // where it runs
}

// Map is what the API server knows of a cluster: nodes know the names of their own pods alone.
type Map struct {
	Places map[netip.Addr]Place
	Zones  map[string]string // by node; of those that have one
	// Nameless tells that who asks may not list the pods of all namespaces: Places has the nodes at most.
	Nameless bool
	// Services are those whose address it is, as namespace/name, as far as they were asked for.
	Services map[netip.Addr]string
	// Unschedulable are the nodes that are cordoned.
	Unschedulable map[string]bool
}

// Report is the diagnosis of a cluster.
type Report struct {
	SchemaVersion int              `json:"schema_version"`
	WindowSeconds float64          `json:"window_seconds"` // the longest of the nodes' windows
	Verdict       diagnose.Verdict `json:"verdict"`
	Summary       string           `json:"summary"`
	Findings      []Finding        `json:"findings"` // the principal one first
	Nodes         []Node           `json:"nodes"`
	NotAsked      string           `json:"not_asked"` // why there may be nodes that were not asked; "" if all were
	// Cordon says which nodes to take out of service, if that was asked.
	Cordon *Cordon `json:"suggest_cordon,omitempty"`
}

// Finding is one cause, found by one node or by several.
type Finding struct {
	Finding  diagnose.Finding `json:"finding"`
	Nodes    []string         `json:"nodes"`     // where it is: one node, all those with the same (the worst first), or those at the wire's ends
	SeenFrom []Observation    `json:"seen_from"` // what other nodes say that this explains
}

// Observation is what a node sees of something elsewhere.
type Observation struct {
	Node     string            `json:"node"`
	Cause    diagnose.Cause    `json:"cause"`
	Severity diagnose.Severity `json:"severity"`
	Text     string            `json:"text"`
}

// Node is one node's part of the answer.
type Node struct {
	Name    string           `json:"name"`
	Version string           `json:"version"` // of its agent
	Verdict diagnose.Verdict `json:"verdict"` // "" if it did not answer
	Summary string           `json:"summary"`
	Error   string           `json:"error"` // why it did not
}

// ExitCode is as of one node's report: 0 healthy or warnings only, 2 fault, 3 no traffic seen or blind.
func (r *Report) ExitCode() int { return (&diagnose.Report{Verdict: r.Verdict}).ExitCode() }
