package diagnose

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"tracer/internal/journey"
)

func TestPodAddresses(t *testing.T) {
	t.Parallel()
	pair := func(src, dst string) Pair {
		return Pair{Addresses: &PairAddresses{Src: netip.MustParseAddr(src), Dst: netip.MustParseAddr(dst)}}
	}
	pairs := []Pair{pair("10.0.0.1", "10.0.0.2"), {}, pair("10.0.0.3", "10.0.0.2"), pair("10.0.0.1", "10.0.0.4")}
	for _, test := range []struct {
		finding Finding
		want    string
	}{
		{Finding{Cause: ReceiverSlow, Stage: journey.Deliver, Device: "pod", Direction: journey.In}, "[10.0.0.2 10.0.0.4]"},
		{Finding{Cause: NoListener, Stage: journey.Deliver, Device: "pod", Direction: journey.Local}, "[10.0.0.2 10.0.0.4]"},
		{Finding{Cause: QdiscDelay, Stage: journey.PodQueue, Device: "pod:eth0", Direction: journey.Out}, "[10.0.0.1 10.0.0.3]"},
		{Finding{Cause: QdiscDrop, Stage: journey.Queue, Device: "pod", Direction: journey.In}, "[10.0.0.2 10.0.0.4]"},
		{Finding{Cause: PolicyDrop, Stage: journey.Forward, Device: "pod", Direction: journey.Out}, "[]"}, // the node's rules
		{Finding{Cause: NotTranslated, Stage: journey.Deliver, Device: "pod", Direction: journey.Local}, "[]"},
		{Finding{Cause: QdiscDrop, Stage: journey.Queue, Device: "eth0", Direction: journey.Out}, "[]"},
		{Finding{Cause: RemoteLoss}, "[]"},
	} {
		test.finding.Pairs = pairs
		if got := fmt.Sprint(test.finding.PodAddresses()); got != test.want {
			t.Errorf("%s in %s at %s: %s, want %s", test.finding.Cause, test.finding.Stage, test.finding.Device, got, test.want)
		}
	}
}

// TestOfPod has nothing of other pods than the one, wherever the finding has them.
func TestOfPod(t *testing.T) {
	t.Parallel()
	p99, ratio := 0.02, 0.05
	pair := func(src, dst, from, to string) Pair {
		return Pair{Src: src, Dst: dst, Addresses: &PairAddresses{Src: netip.MustParseAddr(from), Dst: netip.MustParseAddr(to)}}
	}
	f := Finding{
		Cause: ReceiverSlow, Severity: Critical, Stage: journey.Deliver, Device: "pod", Direction: journey.In, Text: "bank/ledger reads slowly",
		subject: "bank/ledger", predicate: "reads slowly", reason: "of bank/ledger", Evidence: []string{"bank/ledger has 10 sockets"}, Next: []string{"kubectl -n bank top pod"},
		Delay: &Delay{P50: &p99, P99: &p99}, Drops: &Drops{Packets: 3, Ratio: &ratio, Reason: "SOCKET_RCVBUFF"},
		Pairs:      []Pair{pair("secret/payroll", "bank/ledger", "10.0.0.3", "10.0.0.4"), {Src: "bank/x", Dst: "bank/y"}, pair("default/web", "default/api", "10.0.0.1", "10.0.0.2")},
		PairsTotal: 30,
	}
	address := netip.MustParseAddr("10.0.0.2")
	got := f.OfPod([]netip.Addr{address})
	if all := fmt.Sprintf("%+v", got); strings.Contains(all, "bank") || strings.Contains(all, "secret") {
		t.Errorf("it names others: %s", all)
	}
	if len(got.Pairs) != 1 || got.Pairs[0].Src != "default/web" || got.PairsTotal != 1 || got.Key() != f.Key() || got.Severity != Critical {
		t.Errorf("%+v", got)
	}
	for _, want := range []string{"p99 20 ms", "3 packets · 5 %", "SOCKET_RCVBUFF", "of all pods of this node"} {
		if !strings.Contains(got.Sentence(), want) {
			t.Errorf("no %q in %s", want, got.Sentence())
		}
	}
	f.Pairs, f.PairsTotal = f.Pairs[2:], 1
	if got := f.OfPod([]netip.Addr{address}).Text; strings.Contains(got, "all pods") {
		t.Errorf("of one pod alone: %s", got)
	}
}
