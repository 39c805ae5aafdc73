package incident

import (
	"errors"
	"testing"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/overview"
)

// TestReplay shows frames one after the other, stops, goes back, and has no flows.
func TestReplay(t *testing.T) {
	t.Parallel()
	i := incidentOf(busy(20, 20, 5))
	r, err := NewReplay(i, i.Frames[1].Taken)
	if err != nil {
		t.Fatal(err)
	}
	q := overview.Query{By: overview.ByPair, Interval: time.Millisecond}
	var shown []time.Time
	for o, err := range r.Overviews(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if shown = append(shown, o.Taken); len(shown) == 5 {
			if o.Verdict != diagnose.Fault || len(o.Rows) < maxPairs || o.Node != "worker-a" || len(o.Devices) < 3 {
				t.Errorf("%s, %d rows of %s, %d devices", o.Verdict, len(o.Rows), o.Node, len(o.Devices))
			}
			break
		}
	}
	last := len(i.Frames) - 1
	if !shown[0].Equal(i.Frames[1].Taken) || !shown[1].Equal(i.Frames[2].Taken) || !shown[4].Equal(i.Frames[last].Taken) {
		t.Errorf("shown: %v", shown)
	}
	r.Pause(true)
	r.Step(-2)
	for o, err := range r.Overviews(t.Context(), q) {
		if err != nil {
			t.Fatal(err)
		}
		if !o.Taken.Equal(i.Frames[last-2].Taken) {
			t.Errorf("back at %v", o.Taken)
		}
		break
	}
	for _, err := range r.Overviews(t.Context(), overview.Query{By: overview.ByFlow, Interval: time.Millisecond}) {
		if !errors.Is(err, ErrNoFlows) {
			t.Errorf("flows: %v", err)
		}
	}
	if _, err := NewReplay(&Incident{}, time.Time{}); err == nil {
		t.Error("an empty one is shown")
	}
}
