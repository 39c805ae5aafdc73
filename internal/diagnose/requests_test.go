package diagnose

import (
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// askedPair is a pair of which requests alone are known.
func askedPair(src, dst string, direction journey.Direction, answered, unanswered uint64) aggregate.Pair {
	r := &aggregate.Requests{}
	if answered > 0 {
		r.Client.Answered.ObserveDuration(2*time.Millisecond, answered)
	}
	r.Client.Unanswered = unanswered
	return aggregate.Pair{PairKey: key(src, dst, direction), Requests: r}
}

func sentPair(src, dst string, direction journey.Direction, packets float64) aggregate.Pair {
	return aggregate.Pair{PairKey: key(src, dst, direction), Packets: packets}
}

func windowOf(pairs ...aggregate.Pair) *window {
	taken := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	return newWindow("node1", Snapshot{Taken: taken.Add(-15 * time.Second)}, Snapshot{Taken: taken, Counts: &aggregate.Snapshot{Pairs: pairs}})
}

// TestRequestsAlone has pairs of which nothing but requests is known be no pairs of packets.
func TestRequestsAlone(t *testing.T) {
	t.Parallel()
	local := sentPair("default/web", "default/api", journey.Local, 100)
	w := windowOf(askedPair("default/web", "default/api", journey.Out, 5, 0), local, sentPair("default/api", "default/web", journey.Local, 100))
	checked, total := w.checked()
	if len(checked) != 1 || total != 1 || checked[0].Direction != journey.Local || checked[0].Peer != "" {
		t.Errorf("%d checked: %+v, want the one within the node", total, checked)
	}
	if r := w.reverse(&aggregate.Pair{PairKey: key("default/api", "default/web", journey.In)}); r != nil {
		t.Errorf("%+v comes back, of which no packet was seen", r)
	}
	if r := w.requests[whoAsks(local.PairKey)]; r == nil || r.Client.Answered.Count() != 5 {
		t.Errorf("the requests are %+v, want 5", r)
	}

	w = windowOf(askedPair("default/a", "default/b", journey.Out, 3, 0), sentPair("default/web", "default/far", journey.Out, 40))
	if pairs, sent := w.unanswered(); len(pairs) != 1 || sent != 40 && sent != 0 {
		t.Errorf("%d pairs sent %d packets, want the one that did", len(pairs), sent)
	}
	if pairs := w.connected(); len(pairs) != 0 {
		t.Errorf("%+v leave", pairs)
	}
}

// TestAnsweredAlone has requests speak for a window in which no packet passed if all were answered.
func TestAnsweredAlone(t *testing.T) {
	t.Parallel()
	answered, waits := askedPair("default/web", "default/api", journey.Out, 5, 0), askedPair("default/web", "default/db", journey.Out, 4, 3)
	more := askedPair("default/web", "default/log", journey.Out, 0, 9)
	for _, test := range []struct {
		w       *window
		alone   uint64
		waiting string
	}{
		{windowOf(), 0, ""},
		{windowOf(answered), 5, ""},
		{windowOf(answered, waits), 0, "3 requests waited for a minute or were given up (default/web → default/db)"},
		{windowOf(answered, waits, more), 0, "12 requests waited for a minute or were given up (most: default/web → default/log)"},
	} {
		if test.w.sawTraffic() || test.w.answeredAlone() != test.alone || test.w.sayUnanswered() != test.waiting {
			t.Errorf("%d are answered, and %q; want %d and %q", test.w.answeredAlone(), test.w.sayUnanswered(), test.alone, test.waiting)
		}
	}
}
