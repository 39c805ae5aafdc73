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
	take func(*snapshots)
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
		{name: "drops", take: func(e *snapshots) {
			e.to.Counts.Drops, e.to.DropsUnseen = nil, true
			for i := range e.to.Counts.Pairs {
				e.to.Counts.Pairs[i].Drops = nil
			}
		}},
		{name: "qdiscs", take: func(e *snapshots) { unread(e.to.Devices); unread(e.from.Devices) }},
		{name: "devices", take: func(e *snapshots) { e.to.Devices, e.from.Devices = nil, nil }, vague: map[Cause][]Cause{
			LinkDown: {UnknownCause, NoRoute, Neighbour, RemoteLoss}, NIC: {RemoteLoss},
		}},
		{name: "open journeys", take: func(e *snapshots) { e.to.Counts.InFlight, e.from.Counts = nil, nil }},
		{name: "counters", take: func(e *snapshots) { e.to.Stats, e.from.Stats = record.Stats{}, record.Stats{} }, vague: map[Cause][]Cause{
			ConntrackFull: {PolicyDrop}, Encryption: {PolicyDrop}, TTL: {UnknownCause}, RPFilter: {UnknownCause}, MTU: {UnknownCause},
		}},
		{name: "events", take: func(e *snapshots) { e.to.Events = nil }, vague: map[Cause][]Cause{LinkDown: {NoRoute, Neighbour, NIC, UnknownCause}}},
		{name: "pairs", take: func(e *snapshots) { e.to.Counts.Pairs = nil }},
		{name: "connections", take: func(e *snapshots) {
			for i := range e.to.Counts.Pairs {
				e.to.Counts.Pairs[i].TCP = nil
			}
		}},
		{name: "coverage", take: func(e *snapshots) { e.to.Coverage, e.to.MissingHooks = nil, nil }},
		{name: "baseline", take: func(e *snapshots) { e.to.Baseline = nil }},
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
		seeing := load(t, file).snapshots().diagnose()
		for _, b := range blindnesses() {
			e := load(t, file).snapshots()
			b.take(e)
			r := e.diagnose()
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
						g.Cause == f.Cause && f.Stage == "" && f.Device == "" || (g.Cause == LinkDown || g.Cause == NIC) && slices.Contains(b.vague[g.Cause], f.Cause)
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
