package diagnose

import (
	"strings"
	"testing"

	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// TestPoliced asks of a policer whether the pod's annotation asks for it.
func TestPoliced(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		policer, asked uint64
		severity       Severity
		says           string
	}{
		{10_000_000, 10_000_000, Info, "asks for 10 Mbit/s"},
		{10_000_000, 80_000_000, Critical, "asks for 80 Mbit/s, and the qdisc lets 10 Mbit/s pass (by a factor of 8"},
		{10_000_000, 0, Critical, "tc polices what default/api sends, at cali1, to 10 Mbit/s"},
		{0, 10_000_000, Critical, ""}, // a policy
	} {
		s := load(t, "testdata/policy-tc-policer.json")
		p := &s.Pairs[0]
		p.Direction = journey.Out
		p.Drops[0].Device = netdev.PodLabel
		s.Devices = append(s.Devices, netdev.Device{
			Index: 99, Name: "cali1", Role: netdev.RolePod, Workload: "default/api", Policer: test.policer, EgressBandwidth: test.asked,
		})
		r := s.snapshots().diagnose()
		if len(r.Findings) != 1 || r.Findings[0].Severity != test.severity || !strings.Contains(strings.Join(r.Findings[0].Evidence, "; "), test.says) {
			t.Errorf("%+v: %+v", test, r.Findings)
		}
	}
}
