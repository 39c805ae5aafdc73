package loader

import (
	"encoding/binary"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// attribute is a netlink attribute with its padding.
func attribute(kind uint16, value ...[]byte) []byte {
	body := slices.Concat(value...)
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(body)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), body...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func words(values ...uint32) (b []byte) {
	for _, v := range values {
		b = binary.NativeEndian.AppendUint32(b, v)
	}
	return b
}

// filterMessage is one as the kernel sends it, of priority 5 for all protocols on device 9.
func filterMessage(kind string, options ...[]byte) []byte {
	// family and padding, ifindex, handle, parent, and priority beside the protocol in network order
	b := words(0, 9, 0x80000800, filterParent("ingress"), 5<<16|unix.ETH_P_ALL<<8)
	b = append(b, attribute(1, []byte(kind+"\x00"))...) // TCA_KIND
	b = append(b, attribute(11, words(0))...)           // TCA_CHAIN
	if options != nil {
		b = append(b, attribute(2, options...)...) // TCA_OPTIONS
	}
	return b
}

func TestParseFilter(t *testing.T) {
	t.Parallel()
	// The first action of a list, by its kind: its kind and, as options, its parameters.
	action := func(kind string, parameters ...uint32) []byte {
		return attribute(1, attribute(1, []byte(kind+"\x00")), attribute(unix.NLA_F_NESTED|2, attribute(2, words(parameters...))))
	}
	const ok, shot, stolen = 0, 2, 4
	for _, test := range []struct {
		name    string
		message []byte
		rule    bool
		want    string
	}{
		{"head of a list", filterMessage("matchall"), false, "a matchall filter of priority 5 runs"},
		{"hash table of u32", filterMessage("u32", attribute(4, words(1))), false, "a u32 filter of priority 5 runs"},
		{"u32 that redirects", filterMessage("u32", attribute(5, words(0)), attribute(7, action("mirred", 1, 0, stolen, 1, 1, 1, 65000))),
			true, "a u32 filter of priority 5 redirects to device 65000"},
		{"matchall that mirrors", filterMessage("matchall", attribute(2, action("mirred", 1, 0, ok, 1, 1, 2, 65000))),
			true, "a matchall filter of priority 5 mirrors to device 65000"},
		{"flower that drops", filterMessage("flower", attribute(3, action("gact", 1, 0, shot, 1, 1))),
			true, "a flower filter of priority 5 drops packets"},
		{"flower that accepts", filterMessage("flower", attribute(3, action("gact", 1, 0, ok, 1, 1))),
			true, "a flower filter of priority 5 runs"},
		{"bpf", filterMessage("bpf", attribute(7, []byte("cil_from_netdev\x00"))), true, "a bpf filter of priority 5 (cil_from_netdev) runs"},
		{"a rule without options", append(filterMessage("fw"), attribute(2)...), true, "a fw filter of priority 5 runs"},
		{"a qdisc whose options are a structure", append(filterMessage("pfifo_fast"), attribute(2, words(3), []byte("abc"))...),
			true, "a pfifo_fast filter of priority 5 runs"},
		{"a kind that we do not know", filterMessage("rsvp", attribute(3, words(1))), true, "a rsvp filter of priority 5 runs"},
	} {
		f, err := parseFilter(test.message)
		if err != nil || f.rule != test.rule || f.String() != test.want || f.ifindex != 9 {
			t.Errorf("%s: %+v, %v, %q", test.name, f, err, f.String())
		}
	}
	whole := filterMessage("u32", attribute(5, words(0)), attribute(7, action("mirred", 1, 0, stolen, 1, 1, 1, 65000)))
	for size := range whole {
		_, _ = parseFilter(whole[:size]) // however it is cut, this comes back
	}
}

func TestBestPriority(t *testing.T) {
	t.Parallel()
	filter := func(kind string, priority uint16) tcFilter {
		return tcFilter{kind: kind, priority: priority, protocol: unix.ETH_P_ALL, rule: true}
	}
	u32 := func(priority uint16) tcFilter { return filter("u32", priority) }
	bpf := func(priority uint16) tcFilter { return filter("bpf", priority) }
	arp, ip, head, elsewhere := u32(2), bpf(1), bpf(1), u32(2)
	arp.protocol, ip.protocol, head.rule, elsewhere.chain = unix.ETH_P_ARP, unix.ETH_P_IP, false, 3
	ours := bpf(1)
	ours.handle, ours.name = ingressHandle, filterPrefix+"ingress"
	for _, test := range []struct {
		name    string
		filters []tcFilter
		want    uint16
		behind  int
	}{
		{"nothing", nil, 2, 0},
		{"later ones", []tcFilter{bpf(3), u32(49152)}, 2, 0},
		{"bpf beside ours", []tcFilter{bpf(2)}, 2, 0},
		{"bpf at the first", []tcFilter{head, bpf(1)}, 1, 0},
		{"nobody but us at the first", []tcFilter{head, ours}, 2, 0},
		{"another kind at the first", []tcFilter{u32(1)}, 2, 1},
		{"another protocol at the first", []tcFilter{ip}, 2, 1},
		{"another kind at ours", []tcFilter{u32(2)}, 1, 0},
		{"another kind at the first and at ours", []tcFilter{u32(1), u32(1), u32(2)}, 3, 3},
		{"what no packet of ours matches at ours", []tcFilter{arp}, 3, 0},
		{"another chain", []tcFilter{elsewhere}, 2, 0},
	} {
		got := bestPriority(test.filters)
		if behind := len(before(test.filters, got)); got != test.want || behind != test.behind {
			t.Errorf("%s: priority %d behind %d, want %d behind %d", test.name, got, behind, test.want, test.behind)
		}
	}
}
