package device

import (
	"slices"
	"testing"

	"tracer/internal/netdev"
)

func TestTree(t *testing.T) {
	t.Parallel()
	qdisc := func(kind string, handle, parent uint32) node {
		return node{handle: handle, parent: parent, qdisc: netdev.Qdisc{Kind: kind}}
	}
	class := func(handle, parent uint32) node {
		return node{handle: handle, parent: parent, qdisc: netdev.Qdisc{Kind: "htb", Class: true}}
	}
	tests := []struct {
		name            string
		qdiscs, classes []node
		want            string
	}{
		{"nothing listed", nil, nil, "noqueue"},
		{"a leaf of which the root is gone", []node{qdisc("netem", 0x1000000, 0x100010)}, nil, "noqueue"},
		{"comcast", []node{qdisc("netem", 0x1000000, 0x100010), qdisc("htb", 0x100000, parentRoot)},
			[]node{class(0x100010, parentRoot), class(0x100001, parentRoot)},
			"htb 10: / (class 10:1, class 10:10 / netem 100:)"},
		{"a class in a class", []node{qdisc("htb", 0x10000, parentRoot), qdisc("fq", 0x20000, 0x10003)},
			[]node{class(0x10001, parentRoot), class(0x10002, 0x10001), class(0x10003, 0x10001)},
			"htb 1: / class 1:1 / (class 1:2, class 1:3 / fq 2:)"},
		{"classes in an htb that is not the root", []node{
			qdisc("prio", 0x10000, parentRoot), qdisc("htb", 0x20000, 0x10002), qdisc("netem", 0x30000, 0x20005)},
			[]node{class(0x20005, parentRoot)},
			"prio 1: / htb 2: / class 2:5 / netem 3:"},
		{"the kernel's mq, in the order it is dumped in", []node{qdisc("mq", 0, parentRoot),
			qdisc("fq", 0, 3), qdisc("pfifo_fast", 0, 2), qdisc("pfifo_fast", 0, 1)}, nil,
			"mq / (2x pfifo_fast, fq)"},
		{"mq with a handle", []node{qdisc("mq", 0x80020000, parentRoot), qdisc("tbf", 0x50000, 0x80020002),
			qdisc("pfifo_fast", 0, 0x80020001)}, nil,
			"mq 8002: / (pfifo_fast, tbf 5:)"},
		{"a class that is not listed yet", []node{qdisc("htb", 0x10000, parentRoot), qdisc("netem", 0x20000, 0x10009)}, nil,
			"htb 1: / netem 2:"},
		{"classes that are each other's parent", []node{qdisc("htb", 0x10000, parentRoot)},
			[]node{class(0x10001, 0x10002), class(0x10002, 0x10001)}, "htb 1:"},
	}
	for _, test := range tests {
		if got := tree(test.qdiscs, test.classes).String(); got != test.want {
			t.Errorf("%s: got %q, want %q", test.name, got, test.want)
		}
		slices.Reverse(test.qdiscs)
		slices.Reverse(test.classes)
		if got := tree(test.qdiscs, test.classes).String(); got != test.want {
			t.Errorf("%s, listed backwards: got %q, want %q", test.name, got, test.want)
		}
	}
}
