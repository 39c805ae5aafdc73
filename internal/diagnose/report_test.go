package diagnose

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestExitCode(t *testing.T) {
	t.Parallel()
	for verdict, want := range map[Verdict]int{Healthy: 0, Fault: 2, NoTraffic: 3, Blind: 3} {
		if got := (&Report{Verdict: verdict}).ExitCode(); got != want {
			t.Errorf("%s exits with %d, want %d", verdict, got, want)
		}
	}
}

// TestAbsentIsNull checks the part of the contract that a struct does not show: lists are never null, what was not
// measured always is.
func TestAbsentIsNull(t *testing.T) {
	t.Parallel()
	data, err := json.Marshal(Diagnose("", Snapshot{}, Snapshot{}))
	if err != nil || !strings.Contains(string(data), `"verdict":"no-traffic"`) || !strings.Contains(string(data), `"findings":[]`) {
		t.Errorf("%s, %v", data, err)
	}
	data, err = json.Marshal(load(t, "testdata/overlay-nothing-comes-out.json").snapshots().diagnose().Findings[0])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`"p50_seconds":null`, `"p99_seconds":null`, `"baseline_p50_seconds":null`,
		`"share_of_path":null`, `"drops":null`, `"service":null`, `"oldest_seconds":18.2`} {
		if !strings.Contains(string(data), want) {
			t.Errorf("no %s in %s", want, data)
		}
	}
}
