package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// TestBaseline has an agent learn, save and restore its baseline, by snapshots made up.
func TestBaseline(t *testing.T) {
	t.Parallel()
	var log logged
	dir := t.TempDir()
	newAgent := func(dir string) *Agent {
		l := slog.New(slog.NewTextHandler(&log, nil))
		return &Agent{options: Options{StateDir: dir, Log: l}, failures: newFailures(l)}
	}
	a := newAgent(dir)
	key := aggregate.StageKey{Stage: journey.Forward, Device: "tunl0", Direction: journey.Out}
	now := time.Date(2026, 3, 4, 14, 0, 0, 0, time.UTC)
	a.restoreBaseline(now)
	var delay, rtt hist.Histogram
	var asked aggregate.Requests
	snapshot := func() diagnose.Snapshot {
		return diagnose.Snapshot{Taken: now, Counts: &aggregate.Snapshot{
			Taken: now, Stages: []aggregate.StageDelay{{StageKey: key, Delay: delay.Clone()}},
			Pairs: []aggregate.Pair{{
				PairKey:  aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "web", DstNamespace: "default", DstWorkload: "api", Direction: journey.Out},
				Requests: &aggregate.Requests{Client: aggregate.RequestSide{Answered: asked.Client.Answered.Clone(), Timed: asked.Client.Timed}},
				Packets:  float64(rtt.Count()), TCP: &aggregate.TCP{Segments: rtt.Count(), RTT: rtt.Clone(), Peers: []aggregate.PeerRTT{{Node: "node2", RTT: rtt.Clone()}}},
			}},
		}}
	}
	a.history.add(snapshot())
	a.baseline.learned = now
	for range 12 * 10 { // ten minutes, diagnosed each five seconds
		now = now.Add(snapshotEvery)
		delay.Observe(20e-6, 100)
		rtt.Observe(0.04, 10)
		asked.Client.Answered.Observe(0.05, 10)
		asked.Client.Timed += 10
		m := snapshot()
		a.history.add(m)
		// SnapshotBefore goes by the true time: all of these snapshots are long past.
		a.diagnoseBetween(a.history.before(m.Taken.Add(-diagnosisWindow)), m)
		a.baseline.learn(a.history.before(m.Taken.Add(-learnEvery)), m)
	}
	usual, ok := a.baseline.p50s()[key]
	if !ok || usual < 19e-6 || usual > 21e-6 {
		t.Fatalf("usual is %v", a.baseline.p50s())
	}
	peer := diagnose.PeerKey{Node: "node2"}
	if far := a.baseline.roundTrips()[peer]; far < 0.038 || far > 0.042 {
		t.Errorf("usual round trips are %v", a.baseline.roundTrips())
	}
	pair := aggregate.PairKey{SrcNamespace: "default", SrcWorkload: "web", DstNamespace: "default", DstWorkload: "api"}
	if took := a.baseline.requestTimes()[pair]; took < 0.047 || took > 0.053 {
		t.Errorf("usual requests take %v", a.baseline.requestTimes())
	}
	a.saveBaseline()
	again := newAgent(dir)
	again.restoreBaseline(now)
	if got, want := again.baseline.requestTimes()[pair], a.baseline.requestTimes()[pair]; got != want {
		t.Errorf("restored requests of %v, want %v", got, want)
	}
	if again.baseline.p50s()[key] != usual {
		t.Errorf("restored %v, want %v", again.baseline.p50s(), usual)
	}
	if got, want := again.baseline.roundTrips()[peer], a.baseline.roundTrips()[peer]; got != want {
		t.Errorf("restored a round trip of %v, want %v", got, want)
	}

	// As earlier versions wrote it, without other nodes.
	earlier := `{"version":1,"places":[{"stage":"forward","device":"tunl0","direction":"out","p50_seconds":0.00002,"minutes":30,"last":"2026-03-04T14:00:00Z"}]}`
	if err := os.WriteFile(a.baselinePath(), []byte(earlier), 0o600); err != nil {
		t.Fatal(err)
	}
	before := newAgent(dir)
	before.restoreBaseline(now)
	if before.baseline.p50s()[key] != 20e-6 || len(before.baseline.roundTrips()) != 0 {
		t.Errorf("of an earlier version: %v, %v", before.baseline.p50s(), before.baseline.roundTrips())
	}

	// Of another format, and not to be written: told, and the agent goes on.
	if err := os.WriteFile(a.baselinePath(), []byte(`{"version":0,"places":[]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	old := newAgent(dir)
	old.restoreBaseline(now)
	if len(old.baseline.p50s()) != 0 || log.count("set aside", "format version 0, want", "usual.json.unreadable") != 1 {
		t.Errorf("of an old format: %v", old.baseline.p50s())
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	nowhere := newAgent(file)
	nowhere.restoreBaseline(now)
	nowhere.saveBaseline()
	if log.count("cannot save the learned baseline; make the directory writable") != 1 {
		t.Error("nothing is said of a directory that cannot be written")
	}
}

// TestLearnBesideSlowServer goes on to learn a stage behind which an application is slow, for as long as that lasts.
func TestLearnBesideSlowServer(t *testing.T) {
	t.Parallel()
	for cause, known := range map[diagnose.Cause]bool{diagnose.ServerSlow: true, diagnose.ReceiverSlow: false} {
		var b baseline
		key := aggregate.StageKey{Stage: journey.Deliver, Device: "pod", Direction: journey.In}
		now := time.Date(2026, 3, 4, 14, 0, 0, 0, time.UTC)
		var delay hist.Histogram
		snapshot := func() diagnose.Snapshot {
			return diagnose.Snapshot{Taken: now, Counts: &aggregate.Snapshot{Taken: now, Stages: []aggregate.StageDelay{{StageKey: key, Delay: delay.Clone()}}}}
		}
		for range 10 {
			from := snapshot()
			now = now.Add(learnEvery)
			delay.Observe(20e-6, 100)
			b.exclude([]diagnose.Finding{{Cause: cause, Severity: diagnose.Info, Stage: key.Stage, Device: key.Device, Direction: key.Direction}})
			b.learn(from, snapshot())
		}
		if _, got := b.p50s()[key]; got != known {
			t.Errorf("beside %s: %v", cause, b.p50s())
		}
	}
}
