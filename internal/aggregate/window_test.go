package aggregate

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/record"
)

func TestSince(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	a := newAggregator(t, Options{Now: func() time.Time { return now }})
	finished, dropped := request(record.Finished), request(record.Dropped)
	dropped.Reason = "QDISC_DROP"
	in := newRecord(record.Finished, flowOf("10.2.0.1:1", "10.1.0.1:2"), flowOf("10.2.0.1:1", "10.1.0.1:2"), hop(record.Ingress, 4, 0), hop(record.Egress, 1, 3))
	for range 5 {
		a.Add(&finished)
		a.Add(&in)
	}
	a.Add(&dropped)
	now = now.Add(10 * time.Second)
	old := a.Snapshot()
	before, err := json.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}

	now = now.Add(15 * time.Second)
	for range 3 {
		a.Add(&finished)
	}
	a.Add(&dropped)
	a.SetInFlight([]record.Record{request(record.InFlight)})
	w := a.Snapshot().Since(old)
	if w.Window != 15*time.Second || old.Window != 10*time.Second || w.Records != 4 || len(w.InFlight) != 1 {
		t.Errorf("window %v after %v, %d records, %d in flight", w.Window, old.Window, w.Records, len(w.InFlight))
	}
	if len(w.Pairs) != 1 || len(w.Flows) != 1 || w.Pairs[0].Packets != 3 || w.Pairs[0].Path.Count() != 3 || w.Flows[0].Drops != 1 {
		t.Errorf("pairs %+v, flows %+v", w.Pairs, w.Flows)
	}
	if stages := w.Flows[0].Stages; len(stages) != 4 || stages[1].Stage != journey.Queue || stages[1].Count != 3 || !near(stages[1].Seconds, 3*501e-6) {
		t.Errorf("stages of the flow %+v", stages)
	}
	for _, s := range w.Stages {
		if want := uint64(3); s.Passed() != want && !(s.Stage == journey.Forward && s.Passed() == 4) {
			t.Errorf("%+v: %d passed", s.StageKey, s.Passed())
		}
	}
	if len(w.Drops) != 1 || w.Drops[0].Packets != 1 || len(w.Pairs[0].Drops) != 1 {
		t.Errorf("drops %+v", w.Drops)
	}
	if same := a.Snapshot().Since(a.Snapshot()); len(same.Pairs)+len(same.Stages)+len(same.Drops)+len(same.Flows) != 0 {
		t.Errorf("an empty window holds %+v", same)
	}
	if after, _ := json.Marshal(old); string(after) != string(before) {
		t.Error("the old snapshot changed")
	}
	if brief := a.SnapshotWithoutFlows(); brief.Flows != nil || len(brief.Pairs) != 2 || brief.Records != 15 {
		t.Errorf("in brief %+v", brief)
	}
	if a.Snapshot().Since(nil).Records != 15 {
		t.Error("since nothing is not everything")
	}
}

// TestSnapshotJSON checks that a snapshot survives the socket.
func TestSnapshotJSON(t *testing.T) {
	t.Parallel()
	a := newAggregator(t, Options{})
	for _, kind := range []record.Kind{record.Finished, record.Split, record.Dropped} {
		r := request(kind)
		r.Reason = "QDISC_DROP"
		a.Add(&r)
	}
	a.SetInFlight([]record.Record{request(record.InFlight)})
	data, err := json.Marshal(a.Snapshot())
	if err != nil {
		t.Fatal(err)
	}
	var back Snapshot
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(&back)
	if err != nil || string(again) != string(data) {
		t.Errorf("%v\n%s\n%s", err, data, again)
	}
}

// TestFinder: entries are found wherever they are, whatever came or went, and in any order.
func TestFinder(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ list, ask string }{
		{"abcd", "abcd"}, {"abcd", "abxcd"}, {"abcd", "acd"}, {"abcd", "dcba"}, {"abcd", "aabbdd"}, {"", "ab"}, {"abcd", "xyz"}, {"abcd", "abcde"},
	} {
		list := []byte(tt.list)
		f := finder[byte, byte]{list: list, key: func(b *byte) *byte { return b }}
		for _, k := range []byte(tt.ask) {
			got := f.find(&k)
			if there := bytes.IndexByte(list, k); (there >= 0) != (got != nil) || got != nil && got != &list[there] {
				t.Errorf("%c of %q, asked for %q: %v", k, tt.list, tt.ask, got)
			}
		}
	}
}
