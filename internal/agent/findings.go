package agent

import (
	"slices"
	"sync"
	"time"

	"tracer/internal/diagnose"
)

// findings are those of the diagnoses that the agent makes as it keeps its history.
type findings struct {
	mu       sync.Mutex
	tracker  diagnose.Tracker
	judged   time.Time           // when the latest diagnosis was made
	coverage []diagnose.Coverage // as of that; replaced, never changed
	report   diagnose.Report     // likewise
	node     string              // what reports call this node
}

// SetNode says what the agent's own reports call this node. It is called before Run.
func (a *Agent) SetNode(name string) { a.findings.node = name }

// ownReport is the latest diagnosis that the agent has made, and when; the zero time if there is none.
func (a *Agent) ownReport() (diagnose.Report, time.Time) {
	f := &a.findings
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.report, f.judged
}

// ActiveFindings are the findings that hold, and when the latest diagnosis was made.
func (a *Agent) ActiveFindings() (active []diagnose.ActiveFinding, judged time.Time) {
	f := &a.findings
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tracker.Active(), f.judged
}

// Coverage is how much of the packets is seen, as of the latest diagnosis.
func (a *Agent) Coverage() []diagnose.Coverage {
	f := &a.findings
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.coverage
}

// diagnoseAt diagnoses the window before a snapshot, logs what begins and ends, and learns the baseline.
func (a *Agent) diagnoseAt(now diagnose.Snapshot) {
	a.diagnoseBetween(a.SnapshotBefore(diagnosisWindow), now)
	a.baseline.learn(a.SnapshotBefore(learnEvery), now)
}

func (a *Agent) diagnoseBetween(from, now diagnose.Snapshot) {
	report := diagnose.Diagnose(a.findings.node, from, now)
	a.baseline.exclude(report.Findings)
	a.podThrottling.watch(report.Findings, time.Now())
	a.policers.watch(report.Findings, time.Now())
	f := &a.findings
	f.mu.Lock()
	defer f.mu.Unlock()
	started, worsened, ended := f.tracker.Round(&report, now.Taken)
	f.judged, f.coverage, f.report = now.Taken, report.Coverage, report
	hurts := func(h diagnose.ActiveFinding) bool { return h.Finding.Severity != diagnose.Info }
	a.observe(now, report, changesOf(started, worsened, ended, now.Taken), slices.ContainsFunc(f.tracker.Active(), hurts))
	a.logFindings("a finding begins", started, now.Taken)
	a.logFindings("a finding is critical now", worsened, now.Taken)
	a.logFindings("a finding has ended", ended, now.Taken)
}

// logFindings logs each of them, if it is to.
func (a *Agent) logFindings(message string, list []diagnose.ActiveFinding, now time.Time) {
	if !a.options.LogFindings {
		return
	}
	for i := range list {
		f := &list[i].Finding
		write := a.options.Log.Info
		if f.Severity == diagnose.Critical {
			write = a.options.Log.Warn
		}
		write(message, "cause", f.Cause, "severity", f.Severity, "stage", f.Stage, "device", f.Device, "direction", f.Direction,
			"what", f.Sentence(), "for", now.Sub(list[i].Since).Round(time.Second))
	}
}
