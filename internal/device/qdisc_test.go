package device

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"tracer/internal/netdev"
)

// qdiscMessage encodes an RTM_NEWQDISC or RTM_NEWTCLASS message: struct tcmsg, kind, options, statistics.
func qdiscMessage(ifindex, handle, parent uint32, kind string, options []byte) []byte {
	return slices.Concat(
		words(0, ifindex, handle, parent, 1),
		attr(1, []byte(kind), []byte{0}), // TCA_KIND
		attr(2, options),                 // TCA_OPTIONS
		attr(7, // TCA_STATS2
			attr(1, n64(123456), words(789, 0)), // TCA_STATS_BASIC: bytes, packets, padding
			attr(3, words(4, 5000, 6, 7, 8)),    // TCA_STATS_QUEUE: qlen, backlog, drops, requeues, overlimits
		),
	)
}

// netemOptions is what the kernel says of: netem delay 500ms 10ms loss 10% duplicate 1% corrupt 0.1% rate 50kbit.
var netemOptions = slices.Concat(
	words(
		7812500,   // latency in ticks of 64 ns
		1000,      // limit in packets
		429496730, // loss, of 2³²−1
		0,         // gap
		42949673,  // duplicate
		156250,    // jitter in ticks
	),
	attr(1, words(0, 0, 0)),       // TCA_NETEM_CORR
	attr(4, words(4294967, 0)),    // TCA_NETEM_CORRUPT: probability, correlation
	attr(3, words(0, 0)),          // TCA_NETEM_REORDER
	attr(6, words(6250, 0, 0, 0)), // TCA_NETEM_RATE: bytes/s, packet overhead, cell size, cell overhead
)

func TestParseQdisc(t *testing.T) {
	t.Parallel()
	// struct tc_ratespec: cell_log, linklayer, overhead, cell_align, mpu; rate in bytes/s.
	rate := func(bytes uint32) []byte { return words(0, 0, bytes) }

	tests := []struct {
		name    string
		class   bool
		kind    string
		options []byte
		want    netdev.Qdisc
	}{
		{"netem", false, "netem", netemOptions, netdev.Qdisc{
			Delay: 500 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.1, Duplicate: 0.01, Corrupt: 0.001,
			RateBits: 50_000, Limit: 1000, LimitUnit: "packets"}},
		{"netem with 64-bit values, the rate's before its stand-in", false, "netem", slices.Concat(
			words(0xffffffff, 50, 0, 0, 0, 0xffffffff),
			attr(8, n64(5_000_000_000)),         // TCA_NETEM_RATE64
			attr(6, words(0xffffffff, 0, 0, 0)), // TCA_NETEM_RATE
			attr(10, n64(600_000_000_000)),      // TCA_NETEM_LATENCY64
			attr(11, n64(1)),                    // TCA_NETEM_JITTER64
		), netdev.Qdisc{Delay: 10 * time.Minute, Jitter: 1, RateBits: 40_000_000_000, Limit: 50, LimitUnit: "packets"}},
		{"netem loss gemodel 1% 10% 70% 0.1%: a bad eleventh of the time", false, "netem", slices.Concat(
			words(0, 1000, 0, 0, 0, 0),
			attr(0x8000|5, attr(2, words(42949673, 429496730, 1288490189, 4294967))), // TCA_NETEM_LOSS: NETEM_LOSS_GE p, r, h, k1
		), netdev.Qdisc{Loss: 0.064545455, Limit: 1000, LimitUnit: "packets"}},
		{"netem of an all too short answer", false, "netem", words(7812500), netdev.Qdisc{Delay: 500 * time.Millisecond}},
		{"tbf rate 50kbit burst 4kb limit 4408", false, "tbf",
			attr(1, rate(6250), rate(0), words(4408, 10240000, 0)), // TCA_TBF_PARMS: rate, peak rate, limit, buffer, mtu
			netdev.Qdisc{RateBits: 50_000, Burst: 4096, Limit: 4408, LimitUnit: "bytes"}},
		{"tbf rate 100gbit", false, "tbf", slices.Concat(
			attr(1, rate(0xffffffff), rate(0), words(3000, 1000, 0)),
			attr(4, n64(12_500_000_000)), // TCA_TBF_RATE64
		), netdev.Qdisc{RateBits: 100_000_000_000, Burst: 800_000, Limit: 3000, LimitUnit: "bytes"}},
		{"htb default 10", false, "htb", attr(2, words(0x30011, 10, 0x10, 0, 0)), // TCA_HTB_INIT: version, r2q, default, debug, direct
			netdev.Qdisc{Default: 0x10}},
		{"htb class rate 50kbit ceil 1mbit burst 1600", true, "htb",
			attr(1, rate(6250), rate(125000), words(4000000, 200000, 1000, 0, 0)), // TCA_HTB_PARMS: rate, ceil, buffer, cbuffer …
			netdev.Qdisc{RateBits: 50_000, CeilBits: 1_000_000, Burst: 1600}},
		{"htb class rate 40gbit ceil 100gbit", true, "htb", slices.Concat(
			attr(1, rate(0xffffffff), rate(0xffffffff), words(0, 0, 0, 0, 0)),
			attr(6, n64(5_000_000_000)),  // TCA_HTB_RATE64
			attr(7, n64(12_500_000_000)), // TCA_HTB_CEIL64
		), netdev.Qdisc{RateBits: 40_000_000_000, CeilBits: 100_000_000_000}},
		{"hfsc default 2", false, "hfsc", n16(2), netdev.Qdisc{Default: 2}},
		{"hfsc class", true, "hfsc", slices.Concat(
			attr(1, words(0, 0, 1000)), attr(2, words(0, 0, 2000)), attr(3, words(0, 0, 3000)), // RSC, FSC, USC: m1, d, m2
		), netdev.Qdisc{RateBits: 16_000, CeilBits: 24_000}},
		{"fq_codel", false, "fq_codel", slices.Concat(
			attr(1, words(4999)), attr(2, words(10240)), attr(3, words(99999)), attr(4, words(1)), attr(5, words(1024)),
		), netdev.Qdisc{Target: 4999 * time.Microsecond, Interval: 99999 * time.Microsecond, Limit: 10240,
			LimitUnit: "packets", Flows: 1024}},
		{"codel, whose fifth attribute is another", false, "codel", slices.Concat(
			attr(1, words(5000)), attr(2, words(1000)), attr(3, words(100000)), attr(4, words(1)), attr(5, words(777)),
		), netdev.Qdisc{Target: 5 * time.Millisecond, Interval: 100 * time.Millisecond, Limit: 1000, LimitUnit: "packets"}},
		{"fq", false, "fq", slices.Concat(attr(1, words(10000)), attr(2, words(100))), netdev.Qdisc{Limit: 10000, LimitUnit: "packets"}},
		{"sfq", false, "sfq", words(1514, 10, 127, 1024, 128), netdev.Qdisc{Limit: 127, LimitUnit: "packets"}},
		{"pfifo", false, "pfifo", words(1000), netdev.Qdisc{Limit: 1000, LimitUnit: "packets"}},
		{"bfifo", false, "bfifo", words(3000), netdev.Qdisc{Limit: 3000, LimitUnit: "bytes"}},
		{"cake bandwidth 20mbit", false, "cake", attr(2, n64(2_500_000)), netdev.Qdisc{RateBits: 20_000_000}},
		{"a kind that is not known", false, "dualpi2", words(1, 2, 3), netdev.Qdisc{}},
	}
	for _, test := range tests {
		want := test.want
		want.Kind, want.Class = test.kind, test.class
		want.Bytes, want.Packets, want.Drops, want.Overlimits, want.Requeues = 123456, 789, 6, 8, 7
		want.BacklogBytes, want.BacklogPackets = 5000, 4

		n, ok := parseNode(qdiscMessage(9, 0x100001, 0x20003, test.kind, test.options), test.class)
		if !ok || n.ifindex != 9 || n.handle != 0x100001 || n.parent != 0x20003 {
			t.Errorf("%s: read %+v, %v", test.name, n, ok)
		}
		if !reflect.DeepEqual(n.qdisc, want) {
			t.Errorf("%s:\n got %+v\nwant %+v", test.name, n.qdisc, want)
		}
	}
}

func TestParsePackets64(t *testing.T) {
	t.Parallel()
	var q netdev.Qdisc
	parseCounters(&q, slices.Concat(attr(1, n64(1), words(2, 0)), attr(8, n64(1<<33)))) // TCA_STATS_BASIC, TCA_STATS_PKT64
	if q.Packets != 1<<33 {
		t.Errorf("packets = %d", q.Packets)
	}
}

func TestParseNodeWithoutKind(t *testing.T) {
	t.Parallel()
	if _, ok := parseNode(words(0, 1, 2, 3, 4), false); ok {
		t.Error("a message without a kind was accepted")
	}
	if _, ok := parseNode(words(0, 1, 2, 3), false); ok {
		t.Error("a message shorter than its header was accepted")
	}
}
