package diagnose

import (
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestLostInPod tells what never came out of a pod from what was lost behind it, or was not seen.
func TestLostInPod(t *testing.T) {
	t.Parallel()
	// sent makes 100 segments of 1,000 bytes, 25 of which are sent again, and passed the packets of which a hook saw some.
	sent := aggregate.TCP{Segments: 125, Retransmits: 25, Delivered: 100, AckedBytes: 100_000, Retransmitted: 25, RetransmittedBytes: 25_000}
	seen := func(data, acks int) aggregate.Pair {
		p := aggregate.Pair{PairKey: key("default/web", "default/api", journey.Out), Packets: float64(data + acks), Bytes: float64(1052*data + 52*acks)}
		var h hist.Histogram
		h.Observe(1e-5, uint64(data+acks))
		p.Path = h
		return p
	}
	for _, test := range []struct {
		name        string
		pair        aggregate.Pair
		tcp         aggregate.TCP
		here        uint64
		coverage    []HookCoverage
		least, most uint64
	}{
		{name: "each segment comes out once", pair: seen(100, 0), tcp: sent, least: 22, most: 25},
		{name: "bare acknowledgements besides", pair: seen(100, 100), tcp: sent, least: 20, most: 25},
		{name: "the wire loses them", pair: seen(125, 0), tcp: sent},
		{name: "the wire loses them, acknowledgements besides", pair: seen(125, 100), tcp: sent},
		{name: "a queue in the pod loses them, which is seen", pair: seen(100, 0), tcp: sent, here: 25},
		{name: "small ones are lost behind the pod", pair: func() aggregate.Pair {
			p := seen(100, 0)
			p.Packets, p.Bytes = p.Packets+25, p.Bytes+25*102
			return p
		}(), tcp: func() aggregate.TCP { t := sent; t.RetransmittedBytes = 25 * 50; return t }()},
		{name: "several at once are lost behind the pod", pair: seen(125, 0), tcp: func() aggregate.TCP {
			t := sent
			t.Retransmitted, t.RetransmittedBytes = 10, 25_000
			return t
		}()},
		{name: "SYNs are lost behind the pod", pair: seen(100, 25), tcp: func() aggregate.TCP { t := sent; t.Segments = 100; return t }()},
		{name: "hooks see too few of all", pair: seen(40, 0), tcp: sent},
		{name: "nothing comes out", pair: seen(0, 0), tcp: aggregate.TCP{Retransmits: 12}, least: 12, most: 12},
		{name: "a few may be of another window", pair: seen(97, 3), tcp: aggregate.TCP{Segments: 104, Retransmits: 4, Delivered: 100}},
		{name: "the node's own sockets", pair: func() aggregate.Pair { p := seen(0, 0); p.DstNamespace, p.DstWorkload = "", "_node"; return p }(), tcp: aggregate.TCP{Retransmits: 12}},
		{name: "packets are sampled", pair: seen(100, 0), tcp: sent, coverage: []HookCoverage{{
			Device: netdev.PodLabel, Role: netdev.RolePod, Hook: record.Ingress, After: record.Coverage{Packets: 100, Segments: 100, Variance: 100, Begun: 100, Ended: 100}, Packets: 100, Bytes: 1e5,
		}}},
		{name: "what pods send is not seen to its end", pair: seen(100, 0), tcp: sent, coverage: []HookCoverage{{
			Device: netdev.PodLabel, Role: netdev.RolePod, Hook: record.Ingress, Packets: 1000, Bytes: 1e6,
			Before: record.Coverage{Packets: 1000, Segments: 1000, Begun: 1000, Ended: 500}, After: record.Coverage{Packets: 1000, Segments: 1000, Begun: 1000, Ended: 500},
		}}},
	} {
		test.pair.TCP = &test.tcp
		w := newWindow("node-1", Snapshot{}, Snapshot{Counts: &aggregate.Snapshot{Pairs: []aggregate.Pair{test.pair}}, Coverage: test.coverage})
		if got := w.lostInPod(&test.pair, test.here); got < test.least || got > test.most {
			t.Errorf("%s: %d, want %d to %d", test.name, got, test.least, test.most)
		}
	}
}
