package aggregate

import (
	"reflect"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/record"
)

func TestInFlight(t *testing.T) {
	t.Parallel()
	a := newAggregator(t, Options{})
	open := request(record.InFlight)
	open.Time += 20 * time.Second
	young := request(record.InFlight)
	young.Time += time.Second
	young.Weight = 3
	onItsWay := newRecord(record.InFlight, open.First, open.Last, hop(record.Ingress, 4, 0))
	delivered := newRecord(record.InFlight, open.First, open.Last, hop(record.Egress, 1, 0), hop(record.Xmit, 1, 1))
	unknown := newRecord(record.InFlight, open.First, open.Last, hop(record.Ingress, 77, 0))
	a.SetInFlight([]record.Record{open, young, onItsWay, delivered, unknown})
	s := a.Snapshot()
	if len(s.InFlight) != 2 {
		t.Fatalf("in flight %+v", s.InFlight)
	}
	if h := s.InFlight[0]; h.StageKey != (StageKey{journey.Forward, "eth0", journey.In}) || h.Packets != 1 {
		t.Errorf("%+v", h)
	}
	h := s.InFlight[1]
	if h.StageKey != (StageKey{journey.Queue, "tunl0", journey.Out}) || h.Packets != 4 || h.Oldest != 20 || h.Ages.Count() != 4 {
		t.Errorf("%+v", h)
	}
	if want := []InFlightPair{{PairKey{"default", "web", "default", "api", journey.Out}, 4, 20}}; !reflect.DeepEqual(h.Pairs, want) {
		t.Errorf("pairs %+v", h.Pairs)
	}
	a.SetInFlight(nil)
	if left := a.Snapshot().InFlight; len(left) != 0 || len(s.InFlight) != 2 {
		t.Errorf("after an empty scan %+v; before it %d", left, len(s.InFlight))
	}
}
