package events

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"tracer/internal/diagnose"
)

// What the API server takes at most (k8s.io/kubernetes/pkg/apis/core/validation/events.go), in bytes.
const (
	maxNote     = 1024
	maxInstance = 128
)

// controller is who reports Events.
const controller = "tracer-agent"

// Sink is where Events go.
type Sink interface {
	Create(ctx context.Context, e *eventsv1.Event) error
	// Patch changes an Event by a JSON merge patch.
	Patch(ctx context.Context, namespace, name string, patch []byte) error
}

// written is an Event, and how often it was seen.
type written struct {
	event *eventsv1.Event // nil: the API server takes none of these
	count int32           // 0: not seen again
	last  time.Time
}

// send creates an Event, or says that it was seen again. One that the API server has forgotten is made anew.
func (w *written) send(ctx context.Context, sink Sink, now time.Time) error {
	if w.count == 0 {
		return w.create(ctx, sink)
	}
	series := &eventsv1.EventSeries{Count: w.count, LastObservedTime: metav1.NewMicroTime(now)}
	patch, err := json.Marshal(map[string]any{"series": series})
	if err != nil {
		return fmt.Errorf("encode an Event's series: %w", err)
	}
	err = sink.Patch(ctx, w.event.Namespace, w.event.Name, patch)
	if !apierrors.IsNotFound(err) {
		return err
	}
	anew := w.event.DeepCopy()
	anew.Name, anew.EventTime = eventName(&anew.Regarding, now, 0), metav1.NewMicroTime(now) // no other has 0
	w.event, w.count = anew, 0
	return w.create(ctx, sink)
}

// create takes for success that the Event is there: then an answer was lost on the way.
func (w *written) create(ctx context.Context, sink Sink) error {
	if err := sink.Create(ctx, w.event); err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	return nil
}

// newEvent makes an Event of an object, in its namespace; one of a node is in the namespace default, as the kubelet's are. serial
// tells it from others of the same time.
func newEvent(object corev1.ObjectReference, node string, now time.Time, serial uint64, kind, reason, action, note string) *eventsv1.Event {
	e := &eventsv1.Event{
		EventTime: metav1.NewMicroTime(now), Regarding: object,
		ReportingController: controller, ReportingInstance: cut(controller+"-"+node, maxInstance),
		Type: kind, Reason: reason, Action: action, Note: cut(note, maxNote),
	}
	e.Name, e.Namespace = eventName(&object, now, serial), object.Namespace
	if e.Namespace == "" {
		e.Namespace = metav1.NamespaceDefault
	}
	return e
}

// eventName is a name that no other Event of the object has.
func eventName(object *corev1.ObjectReference, now time.Time, serial uint64) string {
	const maxName, suffix = 253, 40
	return fmt.Sprintf("%s.%x.%x", strings.TrimRight(object.Name[:min(len(object.Name), maxName-suffix)], "-."), now.UnixNano(), serial)
}

// reasonOf is a cause as Events' reasons are written: QdiscDrop.
func reasonOf(c diagnose.Cause) string {
	var b strings.Builder
	for word := range strings.SplitSeq(string(c), "-") {
		switch word {
		case "mtu", "ttl", "nic":
			b.WriteString(strings.ToUpper(word))
		default:
			if word != "" {
				b.WriteString(strings.ToUpper(word[:1]) + word[1:])
			}
		}
	}
	return b.String()
}

// beginNote says what is wrong, whom it hurts, and where more is to be read.
func beginNote(f *diagnose.ActiveFinding) string {
	text := fmt.Sprintf("%s: %s", f.Finding.Severity, f.Finding.Sentence())
	if pairs := f.Finding.Pairs; len(pairs) > 0 {
		text += fmt.Sprintf("; %s → %s", pairs[0].Src, pairs[0].Dst)
		if more := f.Finding.PairsTotal - 1; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
	}
	return fmt.Sprintf("%s (tracer explain %s)", text, f.Finding.Cause)
}

func endNote(f *diagnose.ActiveFinding, ended time.Time) string {
	return fmt.Sprintf("over after %v: %s", ended.Sub(f.Since).Round(time.Second), f.Finding.Sentence())
}

// cut shortens a text to so many bytes of whole characters.
func cut(text string, most int) string {
	const mark = "…"
	if len(text) <= most {
		return text
	}
	end := most - len(mark)
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + mark
}
