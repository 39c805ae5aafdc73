package netdev

import (
	"slices"
	"testing"
	"time"
)

// comcast is the tree that the fault tool of that name sets.
func comcast() Qdisc {
	return Qdisc{Kind: "htb", Handle: "10:", Default: 1, Children: []Qdisc{
		{Kind: "htb", Class: true, Handle: "10:1", RateBits: 1e9, CeilBits: 1e9, Burst: 1375},
		{Kind: "htb", Class: true, Handle: "10:10", RateBits: 50_000, CeilBits: 50_000, Burst: 1600, Children: []Qdisc{
			{Kind: "netem", Handle: "100:", Delay: 500 * time.Millisecond, Loss: 0.1, RateBits: 50_000,
				Limit: 1000, LimitUnit: "packets"},
		}},
	}}
}

func TestQdiscText(t *testing.T) {
	t.Parallel()
	single := comcast()
	single.Children = single.Children[1:]
	fifo := Qdisc{Kind: "pfifo_fast", Handle: "0:"}
	tests := []struct {
		name         string
		qdisc        Qdisc
		whole, brief string
	}{
		{"none", Qdisc{Kind: "noqueue", Handle: "0:"}, "noqueue", "noqueue"},
		{"one class", single,
			"htb 10: default 1 / class 10:10 rate 50Kbit / netem 100: delay 500ms loss 10% rate 50Kbit",
			"htb 10: with netem 100: delay 500ms loss 10% rate 50Kbit"},
		{"comcast", comcast(),
			"htb 10: default 1 / (class 10:1 rate 1Gbit, class 10:10 rate 50Kbit / netem 100: delay 500ms loss 10% rate 50Kbit)",
			"htb 10: with netem 100: delay 500ms loss 10% rate 50Kbit"},
		{"mq", Qdisc{Kind: "mq", Handle: "0:", Children: []Qdisc{fifo, fifo, fifo, {Kind: "fq", Handle: "0:", Limit: 10000}}},
			"mq / (3x pfifo_fast, fq limit 10000p)", "mq with 3x pfifo_fast, fq limit 10000p"},
		{"mq of one kind", Qdisc{Kind: "mq", Handle: "8001:", Children: []Qdisc{fifo, fifo}},
			"mq 8001: / 2x pfifo_fast", "mq 8001: with 2x pfifo_fast"},
		{"tbf", Qdisc{Kind: "tbf", Handle: "1:", RateBits: 1_500_000, Burst: 4096, Limit: 4408, LimitUnit: "bytes"},
			"tbf 1: rate 1500Kbit burst 4Kb limit 4408b", "tbf 1: rate 1500Kbit burst 4Kb limit 4408b"},
		{"fq_codel", Qdisc{Kind: "fq_codel", Handle: "0:", Limit: 10240, LimitUnit: "packets", Flows: 1024,
			Target: 4999 * time.Microsecond, Interval: 100 * time.Millisecond},
			"fq_codel limit 10240p flows 1024 target 4.999ms interval 100ms",
			"fq_codel limit 10240p flows 1024 target 4.999ms interval 100ms"},
		{"every netem parameter", Qdisc{Kind: "netem", Handle: "1:", Delay: 1500 * time.Millisecond,
			Jitter: 250 * time.Microsecond, Loss: 0.005, Duplicate: 0.01, Corrupt: 0.0001, Limit: 50, LimitUnit: "packets"},
			"netem 1: delay 1.5s 250us loss 0.5% duplicate 1% corrupt 0.01% limit 50p",
			"netem 1: delay 1.5s 250us loss 0.5% duplicate 1% corrupt 0.01% limit 50p"},
		{"class with a ceiling", Qdisc{Kind: "htb", Class: true, Handle: "1:a", RateBits: 10_000_000, CeilBits: 2_500_000_000},
			"class 1:a rate 10Mbit ceil 2500Mbit", "class 1:a rate 10Mbit ceil 2500Mbit"},
		{"zero value", Qdisc{}, "", ""},
	}
	for _, test := range tests {
		if got := test.qdisc.String(); got != test.whole {
			t.Errorf("%s: String\n got %q\nwant %q", test.name, got, test.whole)
		}
		if got := test.qdisc.Brief(); got != test.brief {
			t.Errorf("%s: Brief\n got %q\nwant %q", test.name, got, test.brief)
		}
	}
}

func TestTCSize(t *testing.T) {
	t.Parallel()
	for bytes, want := range map[uint64]string{
		1: "1b", 1000: "1000b", 1023: "1Kb", 1024: "1Kb", 1600: "1600b", 4095: "4Kb", 32 << 20: "32Mb", 1 << 20: "1Mb",
	} {
		if got := tcSize(bytes); got != want {
			t.Errorf("tcSize(%d) = %q, want %q", bytes, got, want)
		}
	}
}

func TestQueuesAndSplits(t *testing.T) {
	t.Parallel()
	corrupting := comcast()
	corrupting.Children[1].Children[0].Corrupt = 0.001
	for _, test := range []struct {
		qdisc          Qdisc
		queues, splits bool
	}{
		{Qdisc{}, false, false},
		{Qdisc{Kind: "noqueue"}, false, false},
		{Qdisc{Kind: "pfifo_fast"}, true, false},
		{comcast(), true, false},
		{corrupting, true, true},
		{Qdisc{Kind: "tbf"}, true, true},
		{Qdisc{Kind: "mq", Children: []Qdisc{{Kind: "fq"}, {Kind: "cake"}}}, true, true},
	} {
		if got := test.qdisc.Queues(); got != test.queues {
			t.Errorf("%v: Queues = %v", test.qdisc, got)
		}
		if got := test.qdisc.Splits(); got != test.splits {
			t.Errorf("%v: Splits = %v", test.qdisc, got)
		}
	}
}

func TestLeaves(t *testing.T) {
	t.Parallel()
	flows := Qdisc{Kind: "fq_codel", Children: []Qdisc{{Kind: "fq_codel", Class: true}, {Kind: "fq_codel", Class: true}}}
	for _, test := range []struct {
		name string
		root Qdisc
		want []string
	}{
		{"alone", Qdisc{Kind: "tbf", Handle: "1:"}, []string{"tbf 1:"}},
		{"none", Qdisc{Kind: "noqueue", Handle: "0:"}, []string{"noqueue 0:"}},
		{"mq", Qdisc{Kind: "mq", Children: []Qdisc{{Kind: "fq", Handle: "2:"}, {Kind: "fq", Handle: "3:"}}}, []string{"fq 2:", "fq 3:"}},
		{"a class without a qdisc", comcast(), []string{"htb 10:1", "netem 100:"}},
		{"classes alone", Qdisc{Kind: "htb", Handle: "1:", Children: comcast().Children[:1]}, []string{"htb 1:"}},
		{"flows", flows, []string{"fq_codel "}},
		{"flows below", Qdisc{Kind: "tbf", Children: []Qdisc{{Kind: "tbf", Class: true, Children: []Qdisc{flows}}}}, []string{"fq_codel "}},
	} {
		var got []string
		for q := range test.root.Leaves() {
			got = append(got, q.Kind+" "+q.Handle)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q, want %q", test.name, got, test.want)
		}
	}
	for q := range comcast().Leaves() {
		if q.Handle != "10:1" {
			t.Errorf("the first leaf is %s", q.Handle)
		}
		break // and no further call
	}
}

func TestTotal(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name                string
		root, hidden, netem uint64
		want                uint64
	}{
		{"the root counts what its leaves count", 12, 5, 7, 12},
		{"the root does not count", 0, 5, 7, 12},
		{"the root sees what its leaves do not", 20, 5, 7, 20},
	} {
		q := comcast()
		q.BacklogPackets, q.Children[0].BacklogPackets, q.Children[1].Children[0].BacklogPackets = test.root, test.hidden, test.netem
		if got := q.Total(func(q Qdisc) uint64 { return q.BacklogPackets }); got != test.want {
			t.Errorf("%s: %d, want %d", test.name, got, test.want)
		}
	}
}
