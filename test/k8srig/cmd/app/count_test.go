package main

import (
	"testing"
	"time"
)

// TestTally: a packet is lost once one that was sent a second later is answered, and not because time passes.
func TestTally(t *testing.T) {
	begin := time.Unix(0, 0)
	var tally tally
	for i := range 4 {
		tally.next(begin.Add(time.Duration(i) * patience))
	}
	for _, step := range []struct{ number, answered, lost uint64 }{
		{1, 1, 0},
		{1, 1, 0}, // twice
		{3, 2, 0}, // 2 may come yet
		{4, 3, 1},
		{2, 4, 0}, // late, and not lost
		{2, 4, 0},
		{9, 4, 0}, // was never sent
	} {
		tally.answer(step.number)
		if tally.Answered != step.answered || tally.Lost != step.lost {
			t.Errorf("after %d: %d answered, %d lost, want %+v", step.number, tally.Answered, tally.Lost, step)
		}
	}
	if len(tally.open) != 0 {
		t.Errorf("%d are open", len(tally.open))
	}
}
