package diagnose

import (
	"slices"
	"strings"
	"testing"

	"tracer/internal/netdev"
)

// TestNextOfTC names commands that show something: tc's filters only where there is a qdisc for them, Cilium's own where it
// runs.
func TestNextOfTC(t *testing.T) {
	t.Parallel()
	next := func(change func(*Snapshot)) []string {
		e := load(t, "testdata/policy-mixed.json").snapshots()
		change(&e.to)
		return e.diagnose().Findings[0].Next
	}
	const bpf, tc, cilium = "bpftool net show dev eth0", "tc -s filter show dev eth0 ingress", "cilium-dbg monitor --type drop # in this node's cilium pod"
	for _, test := range []struct {
		about  string
		change func(*Snapshot)
		want   []string
	}{
		{"tcx", func(*Snapshot) {}, []string{bpf}},
		{"clsact", func(s *Snapshot) { s.Devices[0].Clsact = true }, []string{tc, bpf}},
		{"unknown devices", func(s *Snapshot) { s.Devices = nil }, []string{tc, bpf}},
		{"pods of Cilium's", func(s *Snapshot) {
			s.Devices = append(s.Devices, netdev.Device{Name: "lxc1f3a", Role: netdev.RolePod})
		}, []string{cilium, bpf}},
		{"Cilium", func(s *Snapshot) { s.Devices = append(s.Devices, netdev.Device{Name: "cilium_vxlan"}) }, []string{cilium, bpf}},
	} {
		if got := next(test.change); !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.about, got, test.want)
		}
	}
}

// TestNextOfPolicy names for each kind of rule the commands of its own.
func TestNextOfPolicy(t *testing.T) {
	t.Parallel()
	for reason, want := range map[string]string{
		"NETFILTER_DROP": "nft ", "XDP": "xdp", "XFRM_POLICY": "xfrm", "BPF_CGROUP_EGRESS": "cgroup", "TC_EGRESS": "bpftool net",
	} {
		s := load(t, "testdata/policy-mixed.json")
		s.Pairs[0].Drops[1].Reason = reason
		s.Pairs[0].Drops = s.Pairs[0].Drops[1:2]
		f := s.snapshots().diagnose().Findings[0]
		if f.Drops.Reason != reason || !strings.Contains(strings.Join(f.Next, "; "), want) {
			t.Errorf("%s: %q for %+v", reason, f.Next, f.Drops)
		}
	}
}
