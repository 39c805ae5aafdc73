package diagnose

import (
	"fmt"
	"net/netip"
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
