// Package events writes Events of Kubernetes (events.k8s.io/v1) when findings begin and end: on the node, and on a pod where the
// finding is the pod's. It does not use client-go's recorder, which brings the types of all of Kubernetes with it and doubles the
// program; like that one it makes a series of what happens again.
package events

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"tracer/internal/diagnose"
	"tracer/internal/failurelog"
)

const (
	// lookEvery is how often the findings are compared with what was told of them.
	lookEvery = 5 * time.Second
	// seriesGap is for how long what begins or ends again is the same Event, seen once more.
	seriesGap = 6 * time.Minute
	// refreshEvery is how often an Event of what goes on is seen once more: the API server forgets them after an hour.
	refreshEvery = 30 * time.Minute
	// burst and writeEvery bound the requests to the API server: so many at once, and one each time after that. What there is no
	// room for is told later, if it still holds.
	burst      = 25
	writeEvery = 10 * time.Second
	// patience is how long an end is tried to be told, and retryAfter how long nothing is tried after a failure.
	patience   = 10 * time.Minute
	retryAfter = 30 * time.Second
	// podAbsent is for how long a pod may be none of those that a finding names, the worst of one round, before it is over for the pod.
	podAbsent = 3 * lookEvery
	// maxPods bounds the pods that are told of one finding.
	maxPods = 10
)

// Pod is one of this node.
type Pod struct{ Namespace, Name, UID string }

// Options of a Recorder. All are required.
type Options struct {
	Sink Sink
	Node string
	// Active are the findings that hold.
	Active func() []diagnose.ActiveFinding
	// PodAt is this node's pod that has an address.
	PodAt func(address netip.Addr) (Pod, bool)
	Log   *slog.Logger
}

// Recorder tells of findings.
type Recorder struct {
	Options
	now     func() time.Time
	failed  *failurelog.Operation
	told    map[subject]*told
	serial  uint64 // of Events
	tokens  float64
	filled  time.Time
	waitFor time.Time // after a failure
}

// subject is a finding at an object.
type subject struct {
	finding diagnose.FindingKey
	object  corev1.ObjectReference
}

// told is what has been told of a subject.
type told struct {
	finding    diagnose.ActiveFinding // of a pod: without what is others'
	seen       time.Time              // when it last held
	began      *written
	over       *written
	ended      time.Time // when it was found that it no longer holds; zero while it does
	overTold   bool      // its end has been told, or cannot be
	toldSevere bool      // began says that it is critical
}

// New returns a recorder. Nothing is written before Run.
func New(o Options) *Recorder {
	return &Recorder{
		Options: o, now: time.Now, told: map[subject]*told{}, tokens: burst,
		failed: failurelog.New(o.Log, slog.LevelWarn, "cannot write Events to the API server; they are tried again while their findings hold"),
	}
}

// Run tells of findings until ctx ends.
func (r *Recorder) Run(ctx context.Context) error {
	ticker := time.NewTicker(lookEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			r.look(ctx)
		}
	}
}

// look tells of what has changed since the last look.
func (r *Recorder) look(ctx context.Context) {
	now := r.now()
	r.refill(now)
	holds := r.subjects()
	for s, f := range holds {
		t := r.told[s]
		if t == nil {
			t = &told{}
			r.told[s] = t
		}
		t.finding, t.seen, t.ended, t.overTold = f, now, time.Time{}, false
	}
	node := r.node()
	for s, t := range r.told {
		_, named := holds[s]
		if _, on := holds[subject{s.finding, node}]; on && !named && t.ended.IsZero() && now.Sub(t.seen) < podAbsent {
			holds[s] = t.finding // it goes on
		}
	}
	// In an order that is the same each time, the critical ones first: that decides what there is room for.
	for _, s := range slices.SortedFunc(maps.Keys(r.told), r.compare) {
		t := r.told[s]
		if _, ok := holds[s]; ok {
			r.tellBegin(ctx, s, t, now)
			continue
		}
		if t.ended.IsZero() {
			t.ended = now
		}
		r.tellEnd(ctx, s, t, now)
		if age := now.Sub(t.ended); age > seriesGap && t.overTold || age > patience {
			delete(r.told, s)
		}
	}
}

func (r *Recorder) compare(a, b subject) int {
	critical := func(s subject) int {
		if r.told[s].finding.Finding.Severity == diagnose.Critical {
			return 0
		}
		return 1
	}
	x, y := &r.told[a].finding, &r.told[b].finding
	if c := critical(a) - critical(b); c != 0 {
		return c
	}
	if c := x.Since.Compare(y.Since); c != 0 {
		return c
	}
	text := func(s subject, f *diagnose.ActiveFinding) string {
		return strings.Join([]string{string(f.Finding.Cause), f.Finding.Device, string(f.Finding.Stage), string(f.Finding.Direction), s.object.Kind, s.object.Namespace, s.object.Name}, "\x00")
	}
	return strings.Compare(text(a, x), text(b, y))
}

// subjects are the findings that hold, at each object that they are told of.
func (r *Recorder) subjects() map[subject]diagnose.ActiveFinding {
	holds, node := map[subject]diagnose.ActiveFinding{}, r.node()
	for _, f := range r.Active() {
		if f.Finding.Severity == diagnose.Info {
			continue // it is as somebody wants it
		}
		key := f.Finding.Key()
		holds[subject{key, node}] = f
		for p, addresses := range r.podsOf(&f.Finding) {
			f := f
			f.Finding = f.Finding.OfPod(addresses)
			holds[subject{key, corev1.ObjectReference{
				Kind: "Pod", APIVersion: "v1", Namespace: p.Namespace, Name: p.Name, UID: types.UID(p.UID),
			}}] = f
		}
	}
	return holds
}

// node is the object that is this node: by its name, as the kubelet has it, since its own UID takes a request and a right to find out.
func (r *Recorder) node() corev1.ObjectReference {
	return corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: r.Node, UID: types.UID(r.Node)}
}

// podsOf are this node's pods whose own the finding is, with their addresses of it.
func (r *Recorder) podsOf(f *diagnose.Finding) map[Pod][]netip.Addr {
	pods := map[Pod][]netip.Addr{}
	for _, address := range f.PodAddresses() {
		if p, ok := r.PodAt(address); ok && (pods[p] != nil || len(pods) < maxPods) {
			pods[p] = append(pods[p], address)
		}
	}
	return pods
}

// tellBegin tells that a finding holds: when it begins, when it becomes critical, and from time to time after that.
func (r *Recorder) tellBegin(ctx context.Context, s subject, t *told, now time.Time) {
	severe := t.finding.Finding.Severity == diagnose.Critical
	switch {
	case t.began == nil, severe && !t.toldSevere:
		r.serial++
		e := newEvent(s.object, r.Node, now, r.serial, corev1.EventTypeWarning, reasonOf(t.finding.Finding.Cause), "FindingBegan", beginNote(&t.finding))
		if w, ok := r.write(ctx, &written{event: e}, now); ok {
			t.began, t.toldSevere = w, severe
		}
	case t.over != nil && t.over.last.After(t.began.last): // it has ended since
		if now.Sub(t.began.last) > seriesGap {
			t.began, t.toldSevere = nil, false
			r.tellBegin(ctx, s, t, now)
			return
		}
		r.again(ctx, t.began, now)
	case now.Sub(t.began.last) >= refreshEvery:
		r.again(ctx, t.began, now)
	}
}

// tellEnd tells that a finding of which it was told that it began holds no more.
func (r *Recorder) tellEnd(ctx context.Context, s subject, t *told, now time.Time) {
	switch {
	case t.overTold:
	case t.began == nil || t.began.event == nil: // nobody knows that it began
		t.overTold = true
	case t.over != nil && t.over.event != nil && now.Sub(t.over.last) <= seriesGap:
		t.overTold = r.again(ctx, t.over, now)
	default:
		r.serial++
		e := newEvent(s.object, r.Node, now, r.serial, corev1.EventTypeNormal, reasonOf(t.finding.Finding.Cause)+"Ended", "FindingEnded", endNote(&t.finding, t.ended))
		if w, ok := r.write(ctx, &written{event: e}, now); ok {
			t.over, t.overTold = w, true
		}
	}
}

// again has an Event seen once more, and tells whether it was.
func (r *Recorder) again(ctx context.Context, w *written, now time.Time) bool {
	next := *w
	next.count++
	if next.count < 2 {
		next.count = 2
	}
	seen, ok := r.write(ctx, &next, now)
	if ok {
		*w = *seen
	}
	return ok
}

// refill gives room for requests as time passes.
func (r *Recorder) refill(now time.Time) {
	if !r.filled.IsZero() {
		r.tokens = min(burst, r.tokens+now.Sub(r.filled).Seconds()/writeEvery.Seconds())
	}
	r.filled = now
}

// write sends an Event, if there is room for a request now. It returns false if that is to be tried again. What the API server refuses
// for good counts as written.
func (r *Recorder) write(ctx context.Context, w *written, now time.Time) (*written, bool) {
	if w.event == nil { // refused before
		w.last = now
		return w, true
	}
	if r.tokens < 1 || now.Before(r.waitFor) {
		return nil, false
	}
	r.tokens--
	err := w.send(ctx, r.Sink, now)
	if ctx.Err() != nil {
		return nil, false
	}
	switch {
	case err == nil:
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause),
		apierrors.IsNotFound(err): // the pod's namespace is gone
		r.Log.Warn("the API server takes no Event of a finding", "object", w.event.Regarding.Kind+" "+w.event.Regarding.Name, "err", err)
		w.event = nil
	default:
		r.waitFor = now.Add(retryAfter)
		if apierrors.IsForbidden(err) {
			err = errors.Join(err, errors.New("give the agent's service account the right to create and patch events (the chart: events.enabled)"))
		}
		r.failed.Done(err)
		return nil, false
	}
	r.failed.Done(nil)
	w.last = now
	return w, true
}
