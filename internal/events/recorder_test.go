package events

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
)

// server keeps Events as the API server does.
type server struct {
	events   []*eventsv1.Event
	requests int
	failing  error
}

func (s *server) Create(_ context.Context, e *eventsv1.Event) error {
	s.requests++
	if s.failing != nil {
		return s.failing
	}
	for _, there := range s.events {
		if there.Name == e.Name && there.Namespace == e.Namespace {
			return apierrors.NewAlreadyExists(schema.GroupResource{Resource: "events"}, e.Name)
		}
	}
	s.events = append(s.events, e.DeepCopy())
	return nil
}

func (s *server) Patch(_ context.Context, namespace, name string, patch []byte) error {
	s.requests++
	if s.failing != nil {
		return s.failing
	}
	for _, e := range s.events {
		if e.Name == name && e.Namespace == namespace {
			return json.Unmarshal(patch, e)
		}
	}
	return apierrors.NewNotFound(schema.GroupResource{Resource: "events"}, name)
}

// bench is a recorder whose findings and clock a test sets.
type bench struct {
	*testing.T
	server
	recorder *Recorder
	clock    time.Time
	active   []diagnose.ActiveFinding
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{T: t, clock: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	b.recorder = New(Options{
		Sink: &b.server, Node: "node1", Active: func() []diagnose.ActiveFinding { return b.active }, Log: slog.New(slog.DiscardHandler),
		PodAt: func(a netip.Addr) (Pod, bool) {
			if a == netip.MustParseAddr("10.0.0.2") {
				return Pod{"default", "api-1", "uid-api-1"}, true
			}
			return Pod{}, false
		},
	})
	b.recorder.now = func() time.Time { return b.clock }
	return b
}

// after lets time pass and the recorder look.
func (b *bench) after(d time.Duration) {
	b.clock = b.clock.Add(d)
	b.recorder.look(b.Context())
}

func (b *bench) finding(cause diagnose.Cause, device string, severity diagnose.Severity) diagnose.ActiveFinding {
	f := diagnose.Finding{
		Cause: cause, Severity: severity, Stage: journey.Queue, Device: device, Direction: journey.Out, Text: device + " is at fault",
		Pairs: []diagnose.Pair{{Src: "default/web", Dst: "default/api", Addresses: &diagnose.PairAddresses{
			Src: netip.MustParseAddr("10.0.0.1"), Dst: netip.MustParseAddr("10.0.0.2"),
		}}}, PairsTotal: 3,
	}
	if device == "pod" {
		f.Stage = journey.Deliver
	}
	return diagnose.ActiveFinding{Finding: f, Since: b.clock}
}

// want compares what the API server has, in the order in which it came, one line each: type, reason, object, how often seen.
func (b *bench) want(when string, lines ...string) {
	b.Helper()
	var got []string
	for _, e := range b.events {
		count := int32(1)
		if e.Series != nil {
			count = e.Series.Count
		}
		got = append(got, fmt.Sprintf("%s %s %s/%s %d", e.Type, e.Reason, e.Regarding.Kind, e.Regarding.Name, count))
	}
	if !slices.Equal(got, lines) {
		b.Errorf("%s:\n%q, want\n%q", when, got, lines)
	}
}

func TestBeginAndEnd(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.after(0)
	b.want("nothing is wrong")
	b.active = []diagnose.ActiveFinding{b.finding(diagnose.QdiscDrop, "tunl0", diagnose.Critical), b.finding(diagnose.QdiscDelay, "eth0", diagnose.Info)}
	b.after(lookEvery)
	b.after(lookEvery)
	b.want("it goes on", "Warning QdiscDrop Node/node1 1")
	e := b.events[0]
	if want := "critical: tunl0 is at fault; default/web → default/api and 2 more (tracer explain qdisc-drop)"; e.Note != want {
		t.Errorf("%q, want %q", e.Note, want)
	}
	if e.Namespace != "default" || e.Regarding.UID != "node1" || e.ReportingController != "tracer-agent" || e.ReportingInstance != "tracer-agent-node1" ||
		e.Action != "FindingBegan" || !e.EventTime.Time.Equal(b.clock.Add(-lookEvery)) || !strings.HasPrefix(e.Name, "node1.") {
		t.Errorf("%+v", e)
	}
	b.active = nil
	b.after(time.Minute)
	b.after(lookEvery)
	b.want("it is over", "Warning QdiscDrop Node/node1 1", "Normal QdiscDropEnded Node/node1 1")
	if note := b.events[1].Note; note != "over after 1m10s: tunl0 is at fault" {
		t.Errorf("%q", note)
	}
	requests := b.requests
	b.after(time.Hour)
	if b.requests != requests || len(b.recorder.told) != 0 {
		t.Errorf("%d requests after the end, %d kept", b.requests-requests, len(b.recorder.told))
	}
}

// TestPods tells of what is a pod's own on the pod as well.
func TestPods(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	b.active = []diagnose.ActiveFinding{b.finding(diagnose.ReceiverSlow, "pod", diagnose.Warning)}
	b.after(0)
	b.want("begins", "Warning ReceiverSlow Node/node1 1", "Warning ReceiverSlow Pod/api-1 1")
	if e := b.events[1]; e.Namespace != "default" || e.Regarding.Namespace != "default" || e.Regarding.UID != "uid-api-1" {
		t.Errorf("%+v", e)
	}
	b.active = nil
	b.after(time.Minute)
	b.want("ends", "Warning ReceiverSlow Node/node1 1", "Warning ReceiverSlow Pod/api-1 1", "Normal ReceiverSlowEnded Node/node1 1", "Normal ReceiverSlowEnded Pod/api-1 1")
}

// TestPodOfMany has nothing of others on a pod, in whose namespace the Event is read by people who may not see theirs.
func TestPodOfMany(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f := b.finding(diagnose.ReceiverSlow, "pod", diagnose.Critical)
	f.Finding.Text = "bank/ledger reads slowly"
	own := f.Finding.Pairs
	others := []diagnose.Pair{{Src: "secret/payroll", Dst: "bank/ledger", Addresses: &diagnose.PairAddresses{
		Src: netip.MustParseAddr("10.0.0.8"), Dst: netip.MustParseAddr("10.0.0.9"),
	}}}
	f.Finding.Pairs = append(others, own...)
	b.active = []diagnose.ActiveFinding{f}
	b.after(0)
	// It is none of those that hurt most for a round or two, and is again.
	for _, pairs := range [][]diagnose.Pair{others, others, own, others} {
		b.active[0].Finding.Pairs = pairs
		b.after(lookEvery)
	}
	b.want("it goes on", "Warning ReceiverSlow Node/node1 1", "Warning ReceiverSlow Pod/api-1 1")
	b.after(lookEvery)
	b.after(lookEvery)
	b.want("it is over for the pod", "Warning ReceiverSlow Node/node1 1", "Warning ReceiverSlow Pod/api-1 1", "Normal ReceiverSlowEnded Pod/api-1 1")
	b.after(lookEvery)
	b.active = nil
	b.after(lookEvery)
	b.want("it is over", "Warning ReceiverSlow Node/node1 1", "Warning ReceiverSlow Pod/api-1 1", "Normal ReceiverSlowEnded Pod/api-1 1", "Normal ReceiverSlowEnded Node/node1 1")
	for _, e := range b.events {
		if e.Regarding.Kind == "Pod" && (strings.Contains(e.Note, "bank") || strings.Contains(e.Note, "secret") || strings.Contains(e.Note, " more")) {
			t.Errorf("the pod's says %q", e.Note)
		}
	}
	if note := b.events[1].Note; !strings.Contains(note, "default/web → default/api (tracer explain receiver-slow)") {
		t.Errorf("%q", note)
	}
}

// TestSeries makes a series of what comes and goes, and of what goes on.
func TestSeries(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	fault := []diagnose.ActiveFinding{b.finding(diagnose.MTU, "eth0", diagnose.Critical)}
	for range 4 {
		b.active = fault
		b.after(time.Minute)
		b.active = nil
		b.after(time.Minute)
	}
	b.want("it flaps", "Warning MTU Node/node1 4", "Normal MTUEnded Node/node1 4")
	b.after(seriesGap + lookEvery)
	b.active = fault
	b.after(lookEvery)
	b.want("later", "Warning MTU Node/node1 4", "Normal MTUEnded Node/node1 4", "Warning MTU Node/node1 1")
	for range 3 * 12 {
		b.after(5 * time.Minute)
	}
	b.want("for hours", "Warning MTU Node/node1 4", "Normal MTUEnded Node/node1 4", "Warning MTU Node/node1 7")
	b.events = nil // the API server forgets
	b.after(refreshEvery)
	b.want("forgotten", "Warning MTU Node/node1 1")
	b.after(refreshEvery)
	b.want("forgotten, and later", "Warning MTU Node/node1 2")
}

func TestWorsened(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for _, severity := range []diagnose.Severity{diagnose.Warning, diagnose.Warning, diagnose.Critical, diagnose.Warning, diagnose.Critical} {
		b.active = []diagnose.ActiveFinding{b.finding(diagnose.QdiscDelay, "eth0", severity)}
		b.after(lookEvery)
	}
	b.want("a warning becomes critical", "Warning QdiscDelay Node/node1 1", "Warning QdiscDelay Node/node1 1")
	if b.events[0].Name == b.events[1].Name || !strings.HasPrefix(b.events[1].Note, "critical: ") {
		t.Errorf("%+v", b.events)
	}
}

// TestRate bounds the requests, whatever happens: what there is no room for is told later, the critical first.
func TestRate(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	for i := range 100 {
		b.active = append(b.active, b.finding(diagnose.QdiscDrop, fmt.Sprintf("eth%02d", i), diagnose.Warning))
	}
	b.active = append(b.active, b.finding(diagnose.LinkDown, "eth99", diagnose.Critical))
	b.after(0)
	if b.requests != burst || b.events[0].Reason != "LinkDown" {
		t.Errorf("%d requests at once, the first of %s", b.requests, b.events[0].Reason)
	}
	for range 12 {
		b.after(lookEvery)
	}
	if want := burst + int(time.Minute/writeEvery); b.requests != want {
		t.Errorf("%d requests in a minute, want %d", b.requests, want)
	}
	// What is over before it was told is not told.
	b.active = nil
	for range 240 {
		b.after(lookEvery)
	}
	begun, ended := 0, 0
	for _, e := range b.events {
		if e.Type == corev1.EventTypeNormal {
			ended++
		} else {
			begun++
		}
	}
	if begun != burst+6 || ended != begun {
		t.Errorf("%d began, %d ended", begun, ended)
	}
}

func TestFailures(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	var log strings.Builder
	b.recorder.Log = slog.New(slog.NewTextHandler(&log, nil))
	b.recorder = New(b.recorder.Options)
	b.recorder.now = func() time.Time { return b.clock }
	b.active = []diagnose.ActiveFinding{b.finding(diagnose.ReceiverSlow, "pod", diagnose.Critical)}
	b.failing = apierrors.NewForbidden(schema.GroupResource{Group: "events.k8s.io", Resource: "events"}, "", errors.New("no right"))
	for range 12 {
		b.after(lookEvery)
	}
	if b.requests > 3 || !strings.Contains(log.String(), "events.enabled") || strings.Count(log.String(), "\n") != 1 {
		t.Errorf("%d requests in a minute; %s", b.requests, log.String())
	}
	b.failing = nil
	b.after(retryAfter)
	b.want("it is allowed again", "Warning ReceiverSlow Node/node1 1", "Warning ReceiverSlow Pod/api-1 1")
	// While the API server is away an end is kept.
	b.failing = errors.New("connection refused")
	b.active = nil
	b.after(lookEvery)
	b.failing = nil
	b.after(time.Minute)
	b.want("it is back", "Warning ReceiverSlow Node/node1 1", "Warning ReceiverSlow Pod/api-1 1", "Normal ReceiverSlowEnded Node/node1 1", "Normal ReceiverSlowEnded Pod/api-1 1")
	// What it refuses for good is tried once.
	b = newBench(t)
	b.failing = apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "POST", schema.GroupResource{}, "", "no", 0, true)
	b.active = []diagnose.ActiveFinding{b.finding(diagnose.QdiscDrop, "tunl0", diagnose.Critical)}
	for range 1000 {
		b.after(lookEvery)
	}
	b.active = nil
	b.after(lookEvery)
	b.after(time.Hour)
	if b.requests != 1 || len(b.recorder.told) != 0 {
		t.Errorf("%d requests, %d kept", b.requests, len(b.recorder.told))
	}
}

func TestLimits(t *testing.T) {
	t.Parallel()
	object := corev1.ObjectReference{Kind: "Node", Name: strings.Repeat("n", 253)}
	e := newEvent(object, object.Name, time.Now(), 1<<60, corev1.EventTypeWarning, "QdiscDrop", "FindingBegan", strings.Repeat("→", 1000))
	if len(e.Note) > maxNote || len(e.ReportingInstance) > maxInstance || len(e.Name) > 253 || !strings.HasSuffix(e.Note, "→…") {
		t.Errorf("%d bytes of note, %d of instance, %d of name", len(e.Note), len(e.ReportingInstance), len(e.Name))
	}
	if e.Namespace != metav1.NamespaceDefault {
		t.Errorf("namespace %s", e.Namespace)
	}
	for _, info := range diagnose.Causes() {
		if reason := reasonOf(info.Cause); reason == "" || strings.ContainsAny(reason, "- ") || reason[0] < 'A' || reason[0] > 'Z' {
			t.Errorf("%s has the reason %q", info.Cause, reason)
		}
	}
}
