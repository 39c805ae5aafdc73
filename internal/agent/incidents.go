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
	// retryAfter is when a write is tried again that has failed, and maxWaiting how many changes wait for that at most.
	retryAfter = time.Minute
	maxWaiting = 64
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

// incidents keeps what led to findings. Its moments are handed over by the diagnosis, which alone has refused; all else belongs to
// keepIncidents.
type incidents struct {
	moments chan moment
	notable notable
	refused []incident.Change // those of moments for which there was no room

	before []moment // the last minute, as the history has it
	// pending is what has begun and is in no incident yet, unwritten what is to be added to one.
	pending   []incident.Change
	unwritten []unwrittenChange
	open      *openIncident
	told      map[diagnose.FindingKey]string // the incident of each finding that has not ended
	// failure is why the last write failed, nil if it did not; it is tried again at retry.
	failure error
	retry   time.Time
}

// unwrittenChange is one of an incident.
type unwrittenChange struct {
	id     string
	change incident.Change
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

// observe hands over what was diagnosed. It never waits: where the disk is too slow frames are left out, and what began and ended
// comes with the next one.
func (a *Agent) observe(now diagnose.Snapshot, report diagnose.Report, changes []incident.Change, active bool) {
	if a.incidents.moments == nil {
		return
	}
	in := &a.incidents
	changes = latest(append(in.refused, changes...), maxWaiting)
	if len(in.moments) == cap(in.moments) { // nobody else sends
		in.refused = changes
		a.failures.incidents.Done(errors.New("the disk is too slow"))
		return
	}
	about := a.options.Incidents.Seen()
	in.moments <- moment{snapshot: now, report: report, seen: incident.SeenOf(&about), notable: in.notable.take(), changes: changes, active: active}
	in.refused = nil
	a.failures.incidents.Done(nil)
}

// latest are the last of a list.
func latest[T any](list []T, most int) []T { return list[max(0, len(list)-most):] }

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

// keepMoment adds a moment to the open incident, or begins one. What could not be written waits for retryAfter.
func (a *Agent) keepMoment(m moment) error {
	in, now := &a.incidents, m.snapshot.Taken
	defer in.remember(m)
	if !m.active {
		in.pending = nil
	}
	in.sort(m.changes)
	if o := in.open; o != nil {
		o.last.notable = o.last.notable.and(m.notable)
		if m.active {
			o.active = now
		}
	}
	switch {
	case in.open == nil && len(in.pending)+len(in.unwritten) == 0:
		in.failure = nil // of nothing that is wanted any more
	case in.failure == nil || !now.Before(in.retry):
		in.failure, in.retry = a.writeMoment(m), now.Add(retryAfter)
	}
	if o := in.open; o != nil && (now.Sub(o.began) >= incidentLength || now.Sub(o.active) >= incidentAfter) {
		in.open = nil
	}
	return in.failure
}

// sort notes what is to be written of changes, and of which incident.
func (in *incidents) sort(changes []incident.Change) {
	for _, c := range changes {
		key := c.Finding.Finding.Key()
		switch {
		case c.Kind == incident.Ends:
			in.pending = slices.DeleteFunc(in.pending, func(p incident.Change) bool { return p.Finding.Finding.Key() == key })
			if id := in.told[key]; id != "" {
				in.unwritten = append(in.unwritten, unwrittenChange{id, c})
			}
			delete(in.told, key)
		case c.Finding.Finding.Severity == diagnose.Info:
		case in.open != nil:
			in.told[key] = in.open.id
			in.unwritten = append(in.unwritten, unwrittenChange{in.open.id, c})
		default:
			in.pending = append(in.pending, c)
		}
	}
	in.pending, in.unwritten = latest(in.pending, maxWaiting), latest(in.unwritten, maxWaiting)
}

// writeMoment writes what is to be written, and the moment's frame if it is time for one.
func (a *Agent) writeMoment(m moment) error {
	in, store := &a.incidents, &a.options.Incidents.Store
	err := in.writeChanges(store)
	o := in.open
	if o == nil {
		if len(in.pending) > 0 {
			err = errors.Join(err, a.beginIncident(m))
		}
		return err
	}
	now := m.snapshot.Taken
	if now.Sub(o.began) > incidentDense && now.Sub(o.last.snapshot.Taken) < sparseFrames-snapshotEvery/2 {
		return err
	}
	next := m
	next.notable = o.last.notable
	frame := a.frame(&o.last, &next)
	switch failed := store.AddFrame(o.id, &frame); {
	case failed == nil:
		next.notable = notableRecords{}
		o.last = next
	case isGone(failed):
		in.open = nil
	default:
		err = errors.Join(err, failed)
	}
	return err
}

// writeChanges adds changes to their incidents, in order, until one cannot be written.
func (in *incidents) writeChanges(store *incident.Store) error {
	for len(in.unwritten) > 0 {
		first := &in.unwritten[0]
		if err := store.AddChange(first.id, &first.change); err != nil && !isGone(err) {
			return err
		}
		in.unwritten = in.unwritten[1:]
	}
	return nil
}

// isGone tells of an error, which is none, that an incident was removed, or has no room for more.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, incident.ErrFull)
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

// beginIncident writes what led to what is pending. It stays pending if that fails.
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
	return incident.NewFrame(&from.snapshot, &to.snapshot, to.seen, &to.report, slow, lost)
}
