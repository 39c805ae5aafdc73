package aggregate

import (
	"reflect"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/record"
)

func TestHeld(t *testing.T) {
	t.Parallel()
	a := newAggregator(t, Options{})
	open := request(record.Open)
	open.Time += 20 * time.Second
	young := request(record.Open)
	young.Time += time.Second
	young.Weight = 3
	inSocket := newRecord(record.Open, open.First, open.Last, hop(record.Ingress, 4, 0))
	inSocket.Time += 2 * time.Second
	onItsWay := newRecord(record.Open, open.First, open.Last, hop(record.Ingress, 4, 0))
	delivered := newRecord(record.Open, open.First, open.Last, hop(record.Egress, 1, 0), hop(record.Xmit, 1, 1))
	unknown := newRecord(record.Open, open.First, open.Last, hop(record.Ingress, 77, 0))
	a.SetHeld([]record.Record{open, young, inSocket, onItsWay, delivered, unknown})
	s := a.Snapshot()
	if len(s.Held) != 2 {
		t.Fatalf("held %+v", s.Held)
	}
	if h := s.Held[0]; h.StageKey != (StageKey{journey.Forward, "eth0", journey.In}) || h.Packets != 1 {
		t.Errorf("%+v", h)
	}
	h := s.Held[1]
	if h.StageKey != (StageKey{journey.Queue, "tunl0", journey.Out}) || h.Packets != 4 || h.Oldest != 20 || h.Ages.Count() != 4 {
		t.Errorf("%+v", h)
	}
	if want := []HeldPair{{PairKey{"default", "web", "default", "api", journey.Out}, 4, 20}}; !reflect.DeepEqual(h.Pairs, want) {
		t.Errorf("pairs %+v", h.Pairs)
	}
	a.SetHeld(nil)
	if held := a.Snapshot().Held; len(held) != 0 || len(s.Held) != 2 {
		t.Errorf("after an empty scan %+v; before it %d", held, len(s.Held))
	}
}
