package diagnose

import (
	"cmp"
	"slices"
	"time"

	"tracer/internal/journey"
)

const (
	// startAfter: rounds in a row that make a finding active; endAfter: rounds in a row without it that end it. A load that
	// comes in bursts is not a new finding each time.
	startAfter, endAfter = 2, 3
)

// ActiveFinding is a finding over rounds of diagnosis.
type ActiveFinding struct {
	Finding Finding   `json:"finding"`
	Since   time.Time `json:"since"` // when it was first found
	// CriticalSince is when it was first critical without a break; zero if it is not.
	CriticalSince time.Time `json:"critical_since,omitzero"`
}

// Tracker follows findings over rounds. The zero Tracker has seen none.
type Tracker struct {
	tracked map[FindingKey]*tracked
}

// FindingKey tells findings apart.
type FindingKey struct {
	cause     Cause
	stage     journey.Stage
	device    string
	direction journey.Direction
}

// Key is what tells a finding apart from others.
func (f *Finding) Key() FindingKey { return FindingKey{f.Cause, f.Stage, f.Device, f.Direction} }

type tracked struct {
	ActiveFinding
	found, missed        int // rounds, one after the other
	uncritical           int // likewise, of those that found it
	active, toldCritical bool
}

// Round takes a diagnosis and returns the findings that are active from now on, those that were already and became critical,
// and those that are not any more.
func (t *Tracker) Round(r *Report, now time.Time) (started, worsened, ended []ActiveFinding) {
	if t.tracked == nil {
		t.tracked = make(map[FindingKey]*tracked)
	}
	seen := make(map[FindingKey]bool)
	for i := range r.Findings {
		f := &r.Findings[i]
		k := f.Key()
		if seen[k] {
			continue // the one that hurts more came first
		}
		seen[k] = true
		x := t.tracked[k]
		if x == nil {
			x = &tracked{ActiveFinding: ActiveFinding{Since: now}}
			t.tracked[k] = x
		}
		x.update(f, now)
		switch {
		case !x.active && x.found >= startAfter:
			x.active, x.toldCritical = true, f.Severity == Critical
			started = append(started, x.ActiveFinding)
		case x.active && f.Severity == Critical && !x.toldCritical:
			x.toldCritical = true
			worsened = append(worsened, x.ActiveFinding)
		}
	}
	for k, x := range t.tracked {
		if seen[k] {
			continue
		}
		x.found = 0
		x.missed++
		if !x.active || x.missed >= endAfter {
			if x.active {
				ended = append(ended, x.ActiveFinding)
			}
			delete(t.tracked, k)
		}
	}
	slices.SortFunc(ended, compareActive)
	return started, worsened, ended
}

// update takes what a round has found.
func (x *tracked) update(f *Finding, now time.Time) {
	x.found++
	x.missed = 0
	if f.Severity == Critical {
		x.uncritical = 0
		if x.CriticalSince.IsZero() {
			x.CriticalSince = now
		}
		x.Finding = *f
		return
	}
	x.uncritical++
	if !x.CriticalSince.IsZero() && x.uncritical < endAfter {
		return // it stays critical for that long, as it is
	}
	x.CriticalSince = time.Time{}
	x.Finding = *f
}

// Active are the active findings, the critical ones first, then those that hurt most.
func (t *Tracker) Active() []ActiveFinding {
	active := []ActiveFinding{}
	for _, x := range t.tracked {
		if x.active {
			active = append(active, x.ActiveFinding)
		}
	}
	slices.SortFunc(active, compareActive)
	return active
}

func compareActive(x, y ActiveFinding) int {
	a, b := &x.Finding, &y.Finding
	return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(b.pain, a.pain),
		cmp.Compare(a.Cause, b.Cause), cmp.Compare(a.Device, b.Device), cmp.Compare(a.Stage, b.Stage), cmp.Compare(a.Direction, b.Direction))
}
