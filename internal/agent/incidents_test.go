package agent

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/incident"
	"tracer/internal/journey"
	"tracer/internal/overview"
	"tracer/internal/record"
)

// keeper is an agent that keeps incidents, and the time that it is there.
type keeper struct {
	*Agent
	t       *testing.T
	now     time.Time
	tracker diagnose.Tracker
	log     bytes.Buffer
	counts  func() *aggregate.Snapshot
}

func newKeeper(t *testing.T) *keeper {
	k := &keeper{t: t, now: time.Date(2026, 5, 1, 3, 0, 0, 0, time.UTC), counts: func() *aggregate.Snapshot { return &aggregate.Snapshot{} }}
	log := slog.New(slog.NewTextHandler(&k.log, nil))
	k.Agent = &Agent{failures: newFailures(log), options: Options{Log: log, Namer: names{}, Incidents: IncidentOptions{
		Store: incident.Store{Dir: filepath.Join(t.TempDir(), "incidents")}, About: func() incident.Header { return incident.Header{Node: "node1"} },
		Seen: func() overview.About { return overview.About{HooksUp: 4, SampleRatio: 0.5} },
	}}}
	k.incidents.start()
	return k
}

// pass lets so much time pass, in which this is found.
func (k *keeper) pass(d time.Duration, found ...diagnose.Finding) {
	for end := k.now.Add(d); k.now.Before(end); {
		k.now = k.now.Add(snapshotEvery)
		report := diagnose.Report{Findings: found}
		started, worsened, ended := k.tracker.Round(&report, k.now)
		active := false
		for _, f := range k.tracker.Active() {
			active = active || f.Finding.Severity != diagnose.Info
		}
		m := moment{
			snapshot: diagnose.Snapshot{Taken: k.now, Counts: k.counts()}, report: report, notable: k.incidents.notable.take(),
			changes: changesOf(started, worsened, ended, k.now), active: active,
		}
		k.history.add(m.snapshot)
		k.failures.incidentFiles.Done(k.keepMoment(m))
	}
}

// kept are the incidents there are, the latest first.
func (k *keeper) kept() (all []*incident.Incident) {
	k.t.Helper()
	entries, err := k.options.Incidents.Store.Entries()
	if err != nil {
		k.t.Fatal(err)
	}
	for _, e := range entries {
		i, err := incident.ReadFile(e.Path)
		if err != nil {
			k.t.Fatal(err)
		}
		all = append(all, i)
	}
	return all
}

func slowQueue(s diagnose.Severity) diagnose.Finding {
	return diagnose.Finding{Cause: diagnose.QdiscDelay, Severity: s, Stage: journey.Queue, Device: "tunl0", Direction: journey.Out, Text: "slow"}
}

// TestIncidentIsKept: a minute before, until it has ended for a while, and then the next one.
func TestIncidentIsKept(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.pass(3 * time.Minute)
	k.pass(time.Minute, diagnose.Finding{Cause: "server-slow", Severity: diagnose.Info})
	if len(k.kept()) != 0 {
		t.Fatal("what is on purpose has begun an incident")
	}
	begin := k.now
	k.pass(time.Minute, slowQueue(diagnose.Critical))
	k.pass(2 * time.Minute)
	all := k.kept()
	if len(all) != 1 {
		t.Fatalf("%d incidents: %s", len(all), k.log.String())
	}
	i := all[0]
	first, last := i.Frames[0].Taken, i.Frames[len(i.Frames)-1].Taken
	if before := begin.Sub(first); before < 30*time.Second || before > historyLength {
		t.Errorf("it begins %v before", before)
	}
	if after := last.Sub(begin); after < time.Minute || after > 2*time.Minute+incidentAfter {
		t.Errorf("it goes on for %v", after)
	}
	if lasted := i.Ended().Sub(i.Began); i.Node != "node1" || lasted < time.Minute || lasted > 80*time.Second || i.Principal().Device != "tunl0" {
		t.Errorf("%s lasted %v on %s", i.Principal().Cause, lasted, i.Node)
	}
	k.pass(time.Minute, slowQueue(diagnose.Critical))
	if len(k.kept()) != 2 {
		t.Errorf("%d incidents", len(k.kept()))
	}
}

// TestLongIncident gets frames for five minutes, its end when that comes, and what becomes critical later is another one.
func TestLongIncident(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.pass(time.Minute)
	begin := k.now
	k.pass(20*time.Minute, slowQueue(diagnose.Warning))
	i := k.kept()[0]
	if last := i.Frames[len(i.Frames)-1].Taken.Sub(begin); last < incidentLength-sparseFrames || last > incidentLength+sparseFrames || len(i.Frames) > 35 || !i.Ended().IsZero() {
		t.Errorf("%d frames up to %v", len(i.Frames), last)
	}
	k.pass(10*time.Minute, slowQueue(diagnose.Critical))
	all := k.kept()
	if len(all) != 2 || all[0].Principal().Severity != diagnose.Critical {
		t.Fatalf("%d incidents", len(all))
	}
	k.pass(time.Minute)
	if all = k.kept(); all[0].Ended().IsZero() {
		t.Error("its end is not told")
	}
}

// TestFlappingIsOne: what comes and goes within half a minute does not begin another one each time.
func TestFlappingIsOne(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.pass(time.Minute)
	for range 6 {
		k.pass(15*time.Second, slowQueue(diagnose.Critical))
		k.pass(20 * time.Second)
	}
	if n := len(k.kept()); n != 1 {
		t.Errorf("%d incidents", n)
	}
}

// TestIncidentWaitsForRoom: what cannot be written is tried again as long as it lasts, and told of once.
func TestIncidentWaitsForRoom(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	dir := k.options.Incidents.Store.Dir
	if err := os.WriteFile(dir, nil, 0o600); err != nil { // no directory can be there
		t.Fatal(err)
	}
	k.pass(time.Minute)
	k.pass(time.Minute, slowQueue(diagnose.Critical))
	if n := strings.Count(k.log.String(), `msg="cannot write an incident`); n != 1 {
		t.Errorf("told %d times: %s", n, k.log.String())
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	k.pass(retryAfter, slowQueue(diagnose.Critical))
	if all := k.kept(); len(all) != 1 || all[0].Changes[0].Kind != incident.Begins || !strings.Contains(k.log.String(), "works again") {
		t.Errorf("%d incidents: %s", len(all), k.log.String())
	}
	if err := os.RemoveAll(dir); err != nil { // by hand, while it is kept
		t.Fatal(err)
	}
	k.pass(time.Minute, slowQueue(diagnose.Critical))
	if n := strings.Count(k.log.String(), `msg="cannot write an incident`); n != 1 || k.incidents.open != nil {
		t.Errorf("an incident that was removed: %s", k.log.String())
	}
}

// TestOldIncidentsGo as the agent starts, though nothing begins.
func TestOldIncidentsGo(t *testing.T) {
	t.Parallel()
	k := newKeeper(t)
	k.pass(time.Minute)
	k.pass(time.Minute, slowQueue(diagnose.Critical))
	old := time.Now().Add(-30 * 24 * time.Hour)
	entries, err := k.options.Incidents.Store.Entries()
	if err != nil || len(entries) != 1 || os.Chtimes(entries[0].Path, old, old) != nil {
		t.Fatal(entries, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := k.keepIncidents(ctx); err != nil || len(k.kept()) != 0 {
		t.Errorf("%d are left: %v", len(k.kept()), err)
	}
}

// TestIncidentMemory: while an incident is kept the agent holds less than 1 MiB for it on a node with 2,000 pairs, beyond the
// snapshots of its history.
func TestIncidentMemory(t *testing.T) {
	k := newKeeper(t)
	k.counts = func() *aggregate.Snapshot {
		one := &aggregate.Snapshot{} // each is more than a megabyte of its own, which the history holds for a minute
		for i := range 2000 {
			p := aggregate.Pair{PairKey: aggregate.PairKey{SrcWorkload: string(rune('a'+i%26)) + strings.Repeat("x", i/26), DstWorkload: "api", Direction: journey.Out}, Packets: 100}
			for j := range 30 {
				p.Path.Observe(1e-4*float64(j), 10)
			}
			for range 4 {
				s := aggregate.StageDelay{}
				s.Delay.Merge(&p.Path)
				p.Stages = append(p.Stages, s)
			}
			one.Pairs = append(one.Pairs, p)
		}
		for i := range 2 * maxDropped {
			k.incidents.notable.consider(&record.Record{Kind: record.Dropped, Location: string(rune('a' + i))})
			k.incidents.notable.consider(&record.Record{Kind: record.Finished, Len: 1, Time: time.Duration(i)})
		}
		return one
	}
	k.pass(2 * time.Minute)
	k.pass(time.Minute, slowQueue(diagnose.Critical))
	if k.incidents.open == nil || len(k.incidents.before) == 0 {
		t.Fatal("nothing is kept")
	}
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	with := heap()
	k.incidents.before, k.incidents.open = nil, nil
	if more := int64(with) - int64(heap()); more > 1<<20 {
		t.Errorf("%d bytes", more)
	}
	runtime.KeepAlive(k)
}
