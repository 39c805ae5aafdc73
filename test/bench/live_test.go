package main

import (
	"slices"
	"testing"
	"time"
)

// TestMeasureLive has one round, and checks that it sees the programs on the way of a packet that leaves the node.
func TestMeasureLive(t *testing.T) {
	t.Parallel()
	programs, err := measureLive(t.Context(), testOverlay(t), 1, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for _, workload := range []string{smallUDP, bulkTCP} {
		var seen []string
		for _, p := range programs {
			if p.Workload != workload {
				continue
			}
			seen = append(seen, p.Program)
			t.Logf("%s: %-12s empty %5.1f, unsampled %6.1f more, sampled %6.1f more", p.Workload, p.Program, p.EmptyNs, p.Unsampled.Ns, p.Sampled.Ns)
			if p.EmptyNs <= 0 || p.EmptyNs+p.Unsampled.Ns <= 0 || p.EmptyNs+p.Sampled.Ns <= 0 {
				t.Errorf("%+v", p)
			}
		}
		for _, want := range []string{"ingress", "egress", "start_xmit", everyProgram} {
			if !slices.Contains(seen, want) {
				t.Errorf("%s: %q, without %s", workload, seen, want)
			}
		}
		if len(seen) > 0 && seen[len(seen)-1] != everyProgram {
			t.Errorf("%s: %q, the sum is not last", workload, seen)
		}
	}
}
