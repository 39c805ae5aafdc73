package diagnose

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// blindness takes one of the engine's eyes away.
type blindness struct {
	name string
	take func(*Input)
	// vague are causes that a finding may be taken for without that eye: they say less, and nothing wrong.
	vague map[Cause][]Cause
}

func blindnesses() []blindness {
	unread := func(devices []netdev.Device) {
		for i := range devices {
			devices[i].Root = netdev.Qdisc{}
		}
	}
	return []blindness{
		{name: "drops", take: func(in *Input) {
			in.Snapshot.Drops, in.DropsUnseen = nil, true
			for i := range in.Snapshot.Pairs {
				in.Snapshot.Pairs[i].Drops = nil
			}
		}},
		{name: "qdiscs", take: func(in *Input) { unread(in.Devices); unread(in.Before) }},
		{name: "devices", take: func(in *Input) { in.Devices, in.Before = nil, nil }, vague: map[Cause][]Cause{
			LinkDown: {UnknownCause, NoRoute, Neighbour},
		}},
		{name: "open journeys", take: func(in *Input) { in.Snapshot.InFlight, in.InFlightBefore = nil, nil }},
		{name: "counters", take: func(in *Input) { in.Stats, in.StatsBefore = record.Stats{}, record.Stats{} }, vague: map[Cause][]Cause{
			ConntrackFull: {PolicyDrop}, TTL: {UnknownCause}, RPFilter: {UnknownCause}, MTU: {UnknownCause},
		}},
		{name: "events", take: func(in *Input) { in.Events = nil }, vague: map[Cause][]Cause{LinkDown: {NoRoute, Neighbour, UnknownCause}}},
		{name: "pairs", take: func(in *Input) { in.Snapshot.Pairs = nil }},
		{name: "connections", take: func(in *Input) {
			for i := range in.Snapshot.Pairs {
				in.Snapshot.Pairs[i].TCP = nil
			}
		}},
		{name: "baseline", take: func(in *Input) { in.Baseline = nil }},
	}
}

// TestBlind takes the engine's eyes away, one at a time, in every scenario: what it then says is less, or vaguer, but
// never another thing at another place, and no alarm where there is no fault.
func TestBlind(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("testdata/*.json")
	if err != nil {
		t.Fatal(err)
	}
	missed, worth := map[string]int{}, map[string]int{} // by blindness, scenarios whose fault is not found, or that look otherwise
	causes := func(r *Report) (causes []Cause) {
		for _, f := range r.Findings {
			causes = append(causes, f.Cause)
		}
		return causes
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		seeing := Diagnose(load(t, file).input())
		for _, b := range blindnesses() {
			in := load(t, file).input()
			b.take(&in)
			r := Diagnose(in)
			if r.Verdict == Fault && seeing.Verdict != Fault {
				t.Errorf("%s without %s: a false alarm: %s", name, b.name, r.Summary)
			}
			if r.Verdict != Fault && seeing.Verdict == Fault {
				missed[b.name]++
			}
			if r.Verdict != seeing.Verdict || !slices.Equal(causes(&r), causes(&seeing)) {
				worth[b.name]++
			}
			for i := range r.Findings {
				f := &r.Findings[i]
				same := slices.ContainsFunc(seeing.Findings, func(g Finding) bool {
					return g.Stage == f.Stage && g.Device == f.Device && (g.Cause == f.Cause || slices.Contains(b.vague[g.Cause], f.Cause)) ||
						g.Cause == LinkDown && slices.Contains(b.vague[LinkDown], f.Cause)
				})
				if f.Severity == Critical && !same {
					t.Errorf("%s without %s: wrongly %s at %s %s: %q", name, b.name, f.Cause, f.Stage, f.Device, f.Evidence)
				}
			}
		}
	}
	for _, b := range blindnesses() {
		if worth[b.name] == 0 {
			t.Errorf("without %s nothing looks otherwise: is it looked at?", b.name)
		}
	}
	t.Logf("faults missed for want of an eye: %v", missed)
}
