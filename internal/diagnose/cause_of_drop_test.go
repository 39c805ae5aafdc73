package diagnose

import (
	"strings"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// TestCauseOfDrop names what a reason or, where there is none, a function means.
func TestCauseOfDrop(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		stage                    journey.Stage
		device, reason, location string
		cause                    Cause
		words                    string
	}{
		{journey.Forward, "pod", journey.NotSpecified, "ip_error", NoRoute, "route"},
		{journey.Forward, "pod", journey.NotSpecified, "dst_discard", NoRoute, "route"},
		{journey.Forward, "pod", "", "nf_hook_slow", PolicyDrop, "netfilter"},
		{journey.Forward, "tunl0", "NETFILTER_DROP", "nft_do_chain", PolicyDrop, "netfilter"},
		{journey.Deliver, "pod:eth0", "NETFILTER_DROP", "nft_do_chain", PolicyDrop, "in the pod"},
		{journey.Encap, "tunl0", journey.NotSpecified, "arp_error_report", Neighbour, "next hop"},
		{journey.Forward, "tunl0", journey.NotSpecified, "gro_cells_receive", BacklogOverflow, "backlog"},
		{journey.Forward, "pod", "PKT_TOO_BIG", "ip_forward", MTU, "MTU"},
		{journey.Queue, "tunl0", journey.NotSpecified, "fq_codel_drop", QdiscDrop, "queue"},
		{journey.Queue, "eth0", "QDISC_DROP", "__dev_queue_xmit", QdiscDrop, "queue"},
		{journey.Forward, "pod", journey.NotSpecified, "ip_forward", "", "mtu or ttl"},
		{journey.Forward, "pod", journey.NotSpecified, "some_function", "", ""},
	} {
		key := aggregate.DropKey{
			StageKey: aggregate.StageKey{Stage: test.stage, Device: test.device, Direction: journey.Out}, Reason: test.reason, Location: test.location, Loss: true,
		}
		cause, words := CauseOfDrop(key)
		if cause != test.cause || !strings.Contains(words, test.words) || test.words == "" && words != "" {
			t.Errorf("%s by %s: %q, %q", test.reason, test.location, cause, words)
		}
		key.Loss = false
		if cause, words := CauseOfDrop(key); cause != "" || words != "" {
			t.Errorf("%s by %s, which is no loss: %q, %q", test.reason, test.location, cause, words)
		}
	}
}
