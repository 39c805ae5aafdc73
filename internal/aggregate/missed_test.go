package aggregate

import (
	"testing"

	"tracer/internal/record"
)

func TestAddMissed(t *testing.T) {
	t.Parallel()
	a := newAggregator(t, Options{})
	r := request(record.Finished)
	packets := func() float64 { return a.Snapshot().Pairs[0].Packets }
	for range 10 {
		a.Add(&r)
	}
	a.AddMissed(record.Finished, 25)
	a.AddMissed(record.Dropped, 1)
	a.Add(&r)
	if got := packets(); got != 11+3 { // 25 over 10 records
		t.Errorf("%v packets after the first record, want 14", got)
	}
	for range 20 {
		a.Add(&r)
	}
	if got := packets(); got != 31+25 {
		t.Errorf("%v packets, want 56", got)
	}
	d := request(record.Dropped)
	d.Reason = "QDISC_DROP"
	a.Add(&d)
	a.Add(&d)
	s := a.Snapshot()
	if s.Drops[0].Packets != 3 || s.MissedRecords != 26 {
		t.Errorf("%d drops, %d missed", s.Drops[0].Packets, s.MissedRecords)
	}
	// After a long gap the first record does not stand for all of them.
	a.AddMissed(record.Finished, 0)
	a.AddMissed(record.Finished, 10_000)
	before := packets()
	a.Add(&r)
	if got := packets() - before; got != 1+maxPerRecord {
		t.Errorf("the first record after a gap counts %v", got)
	}
}
