package agent

import (
	"errors"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/statefile"
)

const (
	// learnEvery is the length of the windows that the baseline is learned from, and minLearnWindow the least that will do:
	// old snapshots are 15 s apart.
	learnEvery     = time.Minute
	minLearnWindow = 40 * time.Second
	// saveBaselineEvery is how often the baseline is saved.
	saveBaselineEvery = 10 * time.Minute
)

// baseline is the usual delay of each stage, learned from the time in which nothing was found there.
type baseline struct {
	saved time.Time // of the history's goroutine alone

	mu       sync.Mutex
	learner  diagnose.Baseline
	known    map[aggregate.StageKey]float64 // p50s that are known by now; replaced, never changed
	peers    map[diagnose.PeerKey]float64   // likewise, round trips to other nodes
	requests map[aggregate.PairKey]float64  // likewise, requests
	excluded []diagnose.Finding             // since it was learned last
	learned  time.Time
}

// p50s are the usual p50s by stage, where they are known.
func (b *baseline) p50s() map[aggregate.StageKey]float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.known
}

// roundTrips are the usual round trips to other nodes, where they are known.
func (b *baseline) roundTrips() map[diagnose.PeerKey]float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.peers
}

// requestTimes are how long requests of pairs usually take, where that is known.
func (b *baseline) requestTimes() map[aggregate.PairKey]float64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.requests
}

// take has what was learnt known. b.mu is held.
func (b *baseline) take() {
	b.known, b.peers, b.requests = b.learner.P50(), b.learner.PeerRTT(), b.learner.UsualRequests()
}

// exclude keeps the stages where something was found out of what is learned next.
func (b *baseline) exclude(found []diagnose.Finding) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := range found {
		f := &found[i]
		if f.Cause.IsOfServer() {
			continue // that lies behind the stage, in the application, and may last for good
		}
		known := slices.ContainsFunc(b.excluded, func(e diagnose.Finding) bool {
			return e.Stage == f.Stage && e.Device == f.Device && e.Cause == f.Cause && e.HasBaseline() == f.HasBaseline()
		})
		if !known {
			b.excluded = append(b.excluded, *f)
		}
	}
}

// learn learns from the window between two snapshots, if it is time to and the window is long enough.
func (b *baseline) learn(from, now diagnose.Snapshot) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if now.Taken.Sub(b.learned) < learnEvery || now.Taken.Sub(from.Taken) < minLearnWindow {
		return
	}
	counts := now.Counts.Since(from.Counts)
	b.learner.Learn(counts.Stages, b.excluded, now.Taken)
	b.learner.LearnPeers(counts.Pairs, b.excluded, now.Taken)
	b.learner.LearnRequests(counts.Pairs, now.Taken)
	b.take()
	b.learned, b.excluded = now.Taken, nil
}

// BaselineVersion is that of the format of usual.json, the learned baseline.
const BaselineVersion = 1

// baselineFile is the baseline as it is saved for the next start.
type baselineFile struct {
	Version int                      `json:"version"`
	Places  []diagnose.StageBaseline `json:"places"`
	// Peers are left out by earlier versions, which take them for nothing.
	Peers []diagnose.PeerBaseline `json:"peers,omitempty"`
	// Requests likewise.
	Requests []diagnose.RequestBaseline `json:"requests,omitempty"`
}

func (a *Agent) baselinePath() string { return filepath.Join(a.options.StateDir, "usual.json") }

// restoreBaseline takes what an earlier run has learned. Without it delays are judged by fixed thresholds for the first
// minutes. What is forgotten by now is left out.
func (a *Agent) restoreBaseline(now time.Time) {
	if a.options.StateDir == "" {
		return
	}
	var file baselineFile
	var io *fs.PathError
	switch err := statefile.Read(a.baselinePath(), BaselineVersion, &file); {
	case errors.Is(err, fs.ErrNotExist):
	case errors.As(err, &io):
		a.options.Log.Warn("cannot read the learned baseline, it is learned anew; make the file readable or give another --state-dir", "err", err)
	case err != nil:
		aside, asideErr := statefile.SetAside(a.baselinePath())
		a.options.Log.Warn("cannot use the learned baseline: it is set aside and learned anew", "err", errors.Join(err, asideErr), "file", aside)
	default:
		b := &a.baseline
		b.mu.Lock()
		defer b.mu.Unlock()
		b.learner.Restore(file.Places)
		b.learner.RestorePeers(file.Peers)
		b.learner.RestoreRequests(file.Requests, now)
		b.take()
	}
}

// saveBaseline writes the file.
func (a *Agent) saveBaseline() {
	if a.options.StateDir == "" {
		return
	}
	a.baseline.mu.Lock()
	file := baselineFile{BaselineVersion, a.baseline.learner.Stages(), a.baseline.learner.Peers(), a.baseline.learner.Requests()}
	a.baseline.mu.Unlock()
	a.failures.baseline.Done(statefile.Write(a.baselinePath(), file))
}
