package loader

import (
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// TestEncrypted has a packet come to an egress as what IPsec has made of it. Its journey goes on, with the flow that it had.
func TestEncrypted(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	if !k.takesIngress() {
		return // 5.10 cannot say in a test run where a packet came in
	}
	const here, elsewhere = 1, 2 // a test run's device is the first
	segment := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6, id: 7}.over(tcp(4000, 80, 1000, "")))
	outer := func(protocol uint8, payload []byte) []byte {
		return join(ethernet(unix.ETH_P_IP), ipv4{src: node1, dst: node2, protocol: protocol, id: 9}.over(payload))
	}
	sealed := make([]byte, 64)
	for _, test := range []struct {
		name   string
		out    []byte
		camein uint32
		goesOn bool
		begins bool // anew: it is the node's own
	}{
		{name: "ESP", out: outer(unix.IPPROTO_ESP, sealed), camein: here, goesOn: true},
		{name: "ESP of a pod behind a bridge", out: outer(unix.IPPROTO_ESP, sealed), camein: elsewhere, goesOn: true},
		{name: "AH", out: outer(unix.IPPROTO_AH, sealed), camein: here, goesOn: true},
		{name: "ESP in UDP", out: outer(unix.IPPROTO_UDP, udp(4500, 4500, sealed)), camein: here, goesOn: true},
		{name: "ESP in UDP from behind NAT", out: outer(unix.IPPROTO_UDP, udp(4500, 61000, sealed)), camein: here, goesOn: true},
		{name: "ESP over IPv6", out: join(ethernet(unix.ETH_P_IPV6), ipv6("fd01::1", "fd01::2", unix.IPPROTO_ESP, sealed)), camein: here, goesOn: true},
		{name: "the node's own ESP", out: outer(unix.IPPROTO_ESP, sealed), begins: true},
		{name: "another packet that was forwarded", out: outer(unix.IPPROTO_UDP, udp(4501, 61000, sealed)), camein: here},
	} {
		k.each(test.name, func(k *kernel) {
			k.inAndOut(segment, k.finalL2, test.out, test.camein)
			open := k.open()
			if n := k.counters().NoIngress; (n == 1) != (!test.goesOn && !test.begins) {
				k.Errorf("%d packets without an ingress", n)
			}
			if len(open) == 0 && !test.goesOn && !test.begins {
				return
			}
			if len(open) != 1 {
				k.Fatalf("%d open journeys, want 1; counters %+v", len(open), k.counters())
			}
			r := open[0]
			inner := flow(pod1, pod2, 4000, 80, 6)
			if goesOn := r.Len == 2 && r.First == inner && r.Last == inner && r.Encapsulated; goesOn != test.goesOn {
				k.Errorf("%v as %v then %v, encapsulated %v; goes on: %v, want %v", r.Passed(), r.First, r.Last, r.Encapsulated, goesOn, test.goesOn)
			}
			if test.begins && (r.Len != 1 || r.Hops[0].Hook != record.Egress) {
				k.Errorf("%v, want an egress alone", r.Passed())
			}
		})
	}
	for _, camein := range []uint32{here, elsewhere} {
		k.each("not sampled", func(k *kernel) {
			k.sample(1<<31, 0, 1)
			_, after := k.inAndOut(segment, k.finalL2, outer(unix.IPPROTO_ESP, sealed), camein)
			if after.Hook != uint8(bpfobj.TracerHookHOOK_EGRESS) || after.Flags&unsampled == 0 || len(k.open()) != 0 {
				k.Errorf("the slot is %+v, want it at the egress and not sampled", after)
			}
			if n := k.counters().Unsampled; n != 1 {
				k.Errorf("%d packets were not sampled, want 1", n)
			}
		})
	}
	k.sample(1, 0, 1)
	k.each("known again as what it is now", func(k *kernel) {
		k.inAndOut(segment, k.finalL2, outer(unix.IPPROTO_ESP, sealed), here)
		after := k.fingerprints()[0]
		k.reset()
		k.pass(k.finalL2, outer(unix.IPPROTO_ESP, sealed), 0)
		if own := k.fingerprints()[0]; own != after {
			k.Errorf("fingerprint %#x, the encrypted packet's is %#x", after, own)
		}
	})
	k.each("its segments, of which only the whole came in", func(k *kernel) {
		k.pass(k.finalL2, outer(unix.IPPROTO_ESP, sealed), here)
		if open := k.open(); len(open) != 1 || open[0].First != flow(node1, node2, 0, 0, unix.IPPROTO_ESP) {
			k.Errorf("%+v, want one packet of the node's own", open)
		}
	})
}
