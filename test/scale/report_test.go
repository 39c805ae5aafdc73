package main

import (
	"strings"
	"testing"
	"time"
)

// TestReport has a column for each agent, tells what Prometheus needs for those in node scope, and finds the one with too much memory.
func TestReport(t *testing.T) {
	t.Parallel()
	all := []measured{
		{scope: noServer, resident: 60 * mib, series: 1000},
		{scope: "node", resident: 90 * mib, series: 3000, perHour: 36e6, known: 4 * time.Second, named: 3 * time.Second, saved: 20e6, changes: 1e6, changedIn: time.Minute},
	}
	var out strings.Builder
	write(&out, options{size: size{nodes: 5000, pods: 150_000, services: 10_000}, changes: 10, watch: time.Minute}, all)
	for _, want := range []string{
		"each lives for 4.2 hours", "| one agent | names from a file | node scope |", "| resident, after the pods were replaced | 60.0 MiB | 90.0 MiB |",
		"| receives in an hour | – | 36 MB |", "| that is, for a pod that is replaced | – | 1.0 kB |", "| all agents together | – | 50 MB/s |", "| saves for the next start | – | 20.0 MB |", "| writes for that in an hour | – | 180 MB |",
		"15.0 million series, 500000 samples a second, 45 GB of memory, 1.3 TB of disk for 15 days",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
	if err := exceeded(all, 80); err == nil || !strings.Contains(err.Error(), "90.0 MiB") {
		t.Errorf("90 MiB of 80: %v", err)
	}
	if err := exceeded(all, 100); err != nil {
		t.Error(err)
	}
}
