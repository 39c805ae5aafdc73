package agent

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/diagnose"
	"tracer/internal/incident"
	"tracer/internal/overview"
)

const (
	// incidentLength is for how long after its begin an incident gets frames at most, and incidentAfter for how long after all of its
	// findings have ended.
	incidentLength = 5 * time.Minute
	incidentAfter  = 30 * time.Second
	// Frames are as far apart as diagnoses for incidentDense, and then sparseFrames.
	incidentDense = 30 * time.Second
	sparseFrames  = 20 * time.Second
	// pruneEvery is how often incidents that have become too old are removed, beside where one begins.
	pruneEvery = time.Hour
)

// IncidentOptions say where incidents are kept, and whose they are. An empty Store.Dir is nowhere.
type IncidentOptions struct {
	Store incident.Store
	// About is whose they are: Node, Tracer, Kernel, Netns and Started. It is asked once tracing runs.
	About func() incident.Header
	// Seen tells how much of the packets is seen. It is asked at each diagnosis.
	Seen func() overview.About
}

// moment is what was known and said at one time.
type moment struct {
	snapshot diagnose.Snapshot
	report   diagnose.Report
	seen     *incident.Seen
	notable  notableRecords // since the moment before
	changes  []incident.Change
	active   bool // a finding holds that is more than info
}

// incidents keeps what led to findings. Its moments are handed over by the diagnosis; all else belongs to keepIncidents.
type incidents struct {
	moments chan moment
	notable notable

	before []moment // the last minute, as the history has it
	// pending is what has begun and could not be written yet.
	pending []incident.Change
	open    *openIncident
	told    map[diagnose.FindingKey]string // the incident of each finding that has not ended
}

// openIncident is one that gets frames.
type openIncident struct {
	id     string
	began  time.Time
	last   moment // of the last frame
	active time.Time
}

// start makes room for a few moments to wait while the disk is slow.
func (in *incidents) start() {
	in.moments, in.told = make(chan moment, 4), map[diagnose.FindingKey]string{}
}

// changesOf are what a round of diagnosis has changed.
func changesOf(started, worsened, ended []diagnose.ActiveFinding, now time.Time) (changes []incident.Change) {
	add := func(kind incident.ChangeKind, list []diagnose.ActiveFinding) {
		for _, f := range list {
			changes = append(changes, incident.Change{Time: now, Kind: kind, Finding: f})
		}
	}
	add(incident.Begins, started)
	add(incident.Critical, worsened)
	add(incident.Ends, ended)
	return changes
}

// observe hands over what was diagnosed. It never waits: where the disk is too slow, what it has no time for is left out.
func (a *Agent) observe(now diagnose.Snapshot, report diagnose.Report, changes []incident.Change, active bool) {
	if a.incidents.moments == nil {
		return
	}
	about := a.options.Incidents.Seen()
	seen := incident.SeenOf(&about)
	var err error
	select {
	case a.incidents.moments <- moment{
		snapshot: now, report: report, seen: seen, notable: a.incidents.notable.take(), changes: changes, active: active,
	}:
	default:
		err = errors.New("the disk is too slow")
	}
	a.failures.incidents.Done(err)
}

// keepIncidents keeps incidents until ctx ends.
func (a *Agent) keepIncidents(ctx context.Context) error {
	in := &a.incidents
	if in.moments == nil {
		return nil
	}
	a.Subscribe(ctx, in.notable.consider)
	prune := time.NewTicker(pruneEvery)
	defer prune.Stop()
	a.failures.incidentAge.Done(a.options.Incidents.Store.Prune())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-prune.C:
			a.failures.incidentAge.Done(a.options.Incidents.Store.Prune())
		case m := <-in.moments:
			a.failures.incidentFiles.Done(a.keepMoment(m))
		}
	}
}

// keepMoment adds a moment to the open incident, or begins one.
func (a *Agent) keepMoment(m moment) (err error) {
	in := &a.incidents
	defer func() { in.remember(m) }()
	if in.open == nil {
		if !m.active {
			in.pending = nil
		}
		for _, c := range m.changes {
			switch {
			case c.Kind == incident.Ends:
				err = errors.Join(err, in.end(&a.options.Incidents.Store, &c))
			case c.Finding.Finding.Severity != diagnose.Info:
				in.pending = append(in.pending, c)
			}
		}
		if len(in.pending) > 0 {
			err = errors.Join(err, a.beginIncident(m))
		}
		return err
	}
	store, o := &a.options.Incidents.Store, in.open
	for _, c := range m.changes {
		switch {
		case c.Kind == incident.Ends:
			err = errors.Join(err, in.end(store, &c))
		case c.Finding.Finding.Severity != diagnose.Info:
			err = errors.Join(err, store.AddChange(o.id, &c))
			in.told[c.Finding.Finding.Key()] = o.id
		}
	}
	if m.active {
		o.active = m.snapshot.Taken
	}
	next := m
	next.notable = o.last.notable.and(m.notable)
	o.last.notable = next.notable
	age := m.snapshot.Taken.Sub(o.began)
	if age <= incidentDense || m.snapshot.Taken.Sub(o.last.snapshot.Taken) >= sparseFrames-snapshotEvery/2 {
		frame := a.frame(&o.last, &next)
		failed := store.AddFrame(o.id, &frame)
		if failed == nil {
			next.notable = notableRecords{}
			o.last = next
		}
		err = errors.Join(err, failed)
	}
	full := errors.Is(err, incident.ErrFull) || errors.Is(err, fs.ErrNotExist) // as large as it may be, or removed by hand
	if full || age >= incidentLength || m.snapshot.Taken.Sub(o.active) >= incidentAfter {
		in.open = nil
	}
	if full {
		return nil
	}
	return err
}

// end tells the incident of a finding that it has ended. It is no error that the incident was removed, or has no room for that.
func (in *incidents) end(store *incident.Store, c *incident.Change) error {
	key := c.Finding.Finding.Key()
	id := in.told[key]
	delete(in.told, key)
	if id == "" {
		return nil
	}
	if err := store.AddChange(id, c); !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, incident.ErrFull) {
		return err
	}
	return nil
}

// remember keeps a moment for what comes, as far apart as the history keeps its snapshots, so that none is kept for this alone.
func (in *incidents) remember(m moment) {
	now := m.snapshot.Taken
	dense := tooDense(now)
	var kept []moment
	var skipped notableRecords
	for _, b := range append(in.before, m) {
		switch {
		case now.Sub(b.snapshot.Taken) > historyLength:
		case dense(b.snapshot):
			skipped = skipped.and(b.notable)
		default:
			b.notable, skipped = skipped.and(b.notable), notableRecords{}
			b.changes = nil
			kept = append(kept, b)
		}
	}
	in.before = kept
}

// beginIncident writes what led to what is pending. It is tried again at the next moment if that fails.
func (a *Agent) beginIncident(m moment) error {
	in := &a.incidents
	i := incident.Incident{Header: a.options.Incidents.About()}
	i.Version = incident.Version
	i.Usual, i.Speeds = incident.UsualOf(m.snapshot.Baseline), incident.SpeedsOf(linkSpeeds("/sys", m.snapshot.Devices))
	i.Changes = in.pending
	principal := i.Principal()
	i.Began = m.snapshot.Taken
	for _, c := range i.Changes {
		if c.Kind == incident.Begins && c.Finding.Since.Before(i.Began) {
			i.Began = c.Finding.Since
		}
	}
	all := append(slices.Clone(in.before), m)
	for k := 1; k < len(all); k++ {
		i.Frames = append(i.Frames, a.frame(&all[k-1], &all[k]))
	}
	if len(i.Frames) == 0 { // nothing is known of before
		start := aggregate.Snapshot{Taken: i.Started}
		i.Frames = append(i.Frames, a.frame(&moment{snapshot: diagnose.Snapshot{Taken: i.Started, Counts: &start}}, &m))
	}
	first := all[min(1, len(all)-1)].snapshot
	i.Frames[0].Events = incident.EventsAfter(first.Events, m.snapshot.Taken.Add(-historyLength)) // of a young agent, those of before its first
	if err := a.options.Incidents.Store.Begin(&i, string(principal.Cause)); err != nil {
		return err
	}
	for _, c := range i.Changes {
		in.told[c.Finding.Finding.Key()] = i.ID
	}
	in.pending = nil
	in.open = &openIncident{id: i.ID, began: m.snapshot.Taken, last: m, active: m.snapshot.Taken}
	in.open.last.notable = notableRecords{}
	a.options.Log.Info("an incident is kept", "id", i.ID, "dir", a.options.Incidents.Store.Dir)
	return nil
}

// frame is what happened between two moments.
func (a *Agent) frame(from, to *moment) incident.Frame {
	slow, lost := to.notable.traces(to.snapshot.Devices, a.options.Namer)
	to.report.Node = a.options.Incidents.About().Node
	return incident.NewFrame(&from.snapshot, &to.snapshot, to.seen, &to.report, slow, lost)
}
