// Package incident keeps what led to a finding, and what came of it, in files: a header, frames (what was counted since the frame
// before, the devices, the report of that time, the slowest journeys and the losses), and when findings began and ended. A Store is
// the directory of the files, Read reads one, Replay makes of it what tracer top shows.
//
// A file is JSON, one object a line, and only grows: what is cut short has lost its last line and nothing else.
package incident

import (
	"cmp"
	"slices"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
)

// Version is that of the format of the files. Fields may be added under the same version; a reader ignores those that it does not
// know.
const Version = 1

// Header is the first line of a file: whose incident it is.
type Header struct {
	Version int       `json:"version"`
	ID      string    `json:"id"`
	Began   time.Time `json:"began"` // when the finding was first found
	Node    string    `json:"node"`
	Tracer  string    `json:"tracer"` // the version that wrote it
	Kernel  string    `json:"kernel"`
	Netns   uint64    `json:"netns"`             // inode of the traced network namespace
	Started time.Time `json:"started"`           // of the agent
	Usual   []Usual   `json:"usual"`             // the delays that were usual, as far as they were learnt
	Speeds  []Speed   `json:"speeds"`            // of links, where the driver knows one
	Redact  bool      `json:"redacted,omitzero"` // addresses and names are pseudonyms
}

// ChangeKind is what a Change tells of a finding.
type ChangeKind string

// The kinds of changes.
const (
	Begins   ChangeKind = "begins"
	Critical ChangeKind = "critical" // it was a warning before
	Ends     ChangeKind = "ends"
)

// Change tells that a finding begins, becomes critical or ends.
type Change struct {
	Time    time.Time              `json:"time"`
	Kind    ChangeKind             `json:"kind"`
	Finding diagnose.ActiveFinding `json:"finding"`
}

// Incident is what was kept.
type Incident struct {
	Header
	Frames  []Frame  // the oldest first
	Changes []Change // likewise
	// Damaged is how many lines could not be read: of a file that was cut short the last one.
	Damaged int
}

// Principal is the finding that the incident is named after, as it was worst: critical if it ever was.
func (i *Incident) Principal() diagnose.Finding {
	var worst diagnose.Finding
	for _, c := range i.Changes {
		if c.Kind != Ends && (worst.Cause == "" || c.Finding.Finding.Severity == diagnose.Critical && worst.Severity != diagnose.Critical) {
			worst = c.Finding.Finding
		}
	}
	return worst
}

// Findings are those that began in it, each once, as they were last told of.
func (i *Incident) Findings() []Change {
	var out []Change
	for _, c := range i.Changes {
		key := c.Finding.Finding.Key()
		at := slices.IndexFunc(out, func(o Change) bool { return o.Finding.Finding.Key() == key })
		if at < 0 {
			out = append(out, c)
			continue
		}
		out[at] = c
	}
	return out
}

// Ended is when the last of its findings ended; zero if one is not known to have.
func (i *Incident) Ended() time.Time {
	var end time.Time
	for _, c := range i.Findings() {
		if c.Kind != Ends {
			return time.Time{}
		}
		if c.Time.After(end) {
			end = c.Time
		}
	}
	return end
}

// Events are the changes of links, routes and qdiscs of all frames.
func (i *Incident) Events() []netdev.Event {
	events := []netdev.Event{}
	for k := range i.Frames {
		events = append(events, i.Frames[k].Events...)
	}
	return events
}

// At is the latest frame not after a time, or the first; nil if there is none.
func (i *Incident) At(t time.Time) *Frame {
	var found *Frame
	for k := range i.Frames {
		if found == nil || !i.Frames[k].Taken.After(t) {
			found = &i.Frames[k]
		}
	}
	return found
}

// Told is the frame whose report the incident is told by: of those that have the principal finding as severe as it became, the one
// that judged most of its packets. Without one it is the last.
func (i *Incident) Told() *Frame {
	principal := i.Principal()
	var best *Frame
	var bestConfidence float64
	for k := range i.Frames {
		f := &i.Frames[k]
		at := slices.IndexFunc(f.Report.Findings, func(x diagnose.Finding) bool {
			return x.Key() == principal.Key() && x.Severity == principal.Severity
		})
		if at < 0 {
			continue
		}
		if c := f.Report.Findings[at].Confidence; best == nil || c > bestConfidence {
			best, bestConfidence = f, c
		}
	}
	if best == nil && len(i.Frames) > 0 {
		best = &i.Frames[len(i.Frames)-1]
	}
	return best
}

// compareEntries puts the latest first.
func compareEntries(a, b Entry) int {
	return cmp.Or(b.Began.Compare(a.Began), cmp.Compare(b.ID, a.ID))
}
