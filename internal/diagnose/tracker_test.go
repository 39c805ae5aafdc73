package diagnose

import (
	"encoding/json"
	"testing"
	"time"

	"tracer/internal/journey"
)

// TestTracker follows a finding through rounds: . is none, w a warning, c critical. Below is what is reported: S started,
// W worsened, E ended.
func TestTracker(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ why, rounds, told string }{
		{"one round is no news", ".c..c.", "......"},
		{"starts with the second round, ends with the third without", ".cc.....", "..S..E.."},
		{"a gap is bridged", "cc.c..c...", ".S.......E"},
		{"a warning that gets worse", "ww.ccc...", ".S.W....E"},
		{"worse is reported once", "wwcwcwwwwc", ".SW......."},
		{"comes again", "cc...cc", ".S..E.S"},
	} {
		var tracker Tracker
		now := time.Date(2026, 3, 4, 14, 0, 0, 0, time.UTC)
		told := ""
		for _, round := range test.rounds {
			now = now.Add(5 * time.Second)
			var r Report
			f := Finding{Cause: QdiscDelay, Stage: journey.Queue, Device: "tunl0", Direction: journey.Out, Severity: Warning}
			if round == 'c' {
				f.Severity = Critical
			}
			if round != '.' {
				r.Findings = []Finding{f}
			}
			started, worsened, ended := tracker.Round(&r, now)
			switch {
			case len(started) == 1:
				told += "S"
			case len(worsened) == 1:
				told += "W"
			case len(ended) == 1:
				told += "E"
			default:
				told += "."
			}
		}
		if told != test.told {
			t.Errorf("%s: %s told as %s, want %s", test.why, test.rounds, told, test.told)
		}
	}
}

func TestActive(t *testing.T) {
	t.Parallel()
	var tracker Tracker
	start := time.Date(2026, 3, 4, 14, 0, 0, 0, time.UTC)
	finding := func(device string, s Severity, pain float64) Finding {
		return Finding{Cause: QdiscDrop, Stage: journey.Queue, Device: device, Severity: s, pain: pain, Evidence: []string{"e"}}
	}
	round := func(after time.Duration, findings ...Finding) {
		tracker.Round(&Report{Findings: findings}, start.Add(after))
	}
	round(0, finding("eth0", Warning, 9))
	round(5*time.Second, finding("eth0", Warning, 9), finding("tunl0", Critical, 1))
	round(10*time.Second, finding("eth0", Critical, 9), finding("tunl0", Critical, 1))
	round(15*time.Second, finding("eth0", Warning, 9)) // still critical, and tunl0's still holds
	active := tracker.Active()
	if len(active) != 2 || active[0].Finding.Device != "eth0" || active[1].Finding.Device != "tunl0" || active[0].Finding.Severity != Critical ||
		!active[0].Since.Equal(start) || !active[0].CriticalSince.Equal(start.Add(10*time.Second)) || !active[1].CriticalSince.Equal(start.Add(5*time.Second)) {
		t.Errorf("active %+v", active)
	}
	// All of it goes over the socket.
	data, err := json.Marshal(active)
	if err != nil {
		t.Fatal(err)
	}
	var back []ActiveFinding
	if err := json.Unmarshal(data, &back); err != nil || !back[0].Since.Equal(start) || back[0].Finding.Device != "eth0" || len(back[0].Finding.Evidence) != 1 {
		t.Errorf("%+v, %v from %s", back, err, data)
	}
}
