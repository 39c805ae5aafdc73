package agent

import (
	"slices"
	"sync"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
)

const (
	// learnEvery is the length of the windows that what is usual is learnt from, and learnLeast the least that will do:
	// moments of the past are kept 15 s apart.
	learnEvery = time.Minute
	learnLeast = 40 * time.Second
	// keepUsualEvery is how often what is usual is written down.
	keepUsualEvery = 10 * time.Minute
)

// verdicts follow diagnoses over time: what holds, and what is usual.
type verdicts struct {
	mu       sync.Mutex
	tracker  diagnose.Tracker
	judged   time.Time
	baseline diagnose.Baseline
	usual    map[aggregate.StageKey]float64 // by it; replaced, never changed
	found    []diagnose.Finding             // since it was learnt last
	learnt   time.Time
	kept     time.Time
}

// ActiveFindings are the findings that hold, and when they were looked at last.
func (a *Agent) ActiveFindings() (held []diagnose.ActiveFinding, judged time.Time) {
	v := &a.verdicts
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.tracker.Active(), v.judged
}

// usual is the usual p50 by place, where it is known.
func (a *Agent) usual() map[aggregate.StageKey]float64 {
	a.verdicts.mu.Lock()
	defer a.verdicts.mu.Unlock()
	return a.verdicts.usual
}

// judge diagnoses the last seconds before a moment, tells what begins and ends, and learns what is usual.
func (a *Agent) judge(now diagnose.Snapshot) {
	a.judgeSince(now, a.SnapshotBefore(verdictWindow), a.SnapshotBefore(learnEvery))
}

// judgeSince does so with the moments at which the window began, and that which is learnt from.
func (a *Agent) judgeSince(now, from, learnFrom diagnose.Snapshot) {
	report := diagnose.Diagnose("", from, now)
	v := &a.verdicts
	v.mu.Lock()
	defer v.mu.Unlock()
	started, worsened, ended := v.tracker.Round(&report, now.Taken)
	v.judged = now.Taken
	a.tell("a finding begins", started, now.Taken)
	a.tell("a finding is critical now", worsened, now.Taken)
	a.tell("a finding has ended", ended, now.Taken)
	for i := range report.Findings {
		f := &report.Findings[i]
		if !slices.ContainsFunc(v.found, func(g diagnose.Finding) bool { return g.Stage == f.Stage && g.Device == f.Device }) {
			v.found = append(v.found, *f)
		}
	}
	if now.Taken.Sub(v.learnt) < learnEvery {
		return
	}
	if now.Taken.Sub(learnFrom.Taken) >= learnLeast {
		v.baseline.Learn(now.Counts.Since(learnFrom.Counts).Stages, v.found, now.Taken)
		v.usual = v.baseline.Known()
		v.learnt, v.found = now.Taken, nil
	}
}

// tell writes a line of log for each, if it is to.
func (a *Agent) tell(what string, list []diagnose.ActiveFinding, now time.Time) {
	if !a.options.LogFindings {
		return
	}
	for i := range list {
		f := &list[i].Finding
		write := a.options.Log.Info
		if f.Severity == diagnose.Critical {
			write = a.options.Log.Warn
		}
		write(what, "cause", f.Cause, "severity", f.Severity, "stage", f.Stage, "device", f.Device, "direction", f.Direction,
			"what", f.Sentence(), "for", now.Sub(list[i].Since).Round(time.Second))
	}
}
