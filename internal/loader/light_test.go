package loader

import (
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
)

// Flags of a mark.
const (
	light = uint8(bpfobj.TracerFlagFLAG_LIGHT)
	last  = uint8(bpfobj.TracerFlagFLAG_LAST)
	pod   = uint8(bpfobj.TracerFlagFLAG_POD)
	encap = uint8(bpfobj.TracerFlagFLAG_ENCAP)
)

// TestPassesBy has packets come to an egress that came in before. One that is not followed, and whose mark says that it
// came in by its own device, is not looked at: even what is no packet has its mark moved on. All others are.
func TestPassesBy(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	if !k.takesIngress() {
		return // 5.10 cannot say in a test run where a packet came in
	}
	const here, elsewhere = 1, 2 // a test run's device is the first
	inner := ipv4{src: pod1, dst: pod2, protocol: 6, id: 7}.over(tcp(4000, 80, 1000, ""))
	packet := join(ethernet(unix.ETH_P_IP), inner)
	other := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6, id: 8}.over(tcp(4000, 80, 2000, "")))
	tunnelled := join(ethernet(unix.ETH_P_IP), ipv4{src: node1, dst: node2, protocol: 4}.over(inner))
	broken := join(ethernet(unix.ETH_P_IP), inner[:22])
	for _, test := range []struct {
		name     string
		followed bool
		in, out  []byte
		at       *ebpf.Program
		camein   uint32
		flags    uint8 // 0: the mark is gone
		same     bool  // it is of the packet that came in
		orphans  uint64
	}{
		{name: "on to the wire", in: packet, out: packet, at: k.objects.WireL2, camein: here, flags: light | last, same: true},
		{name: "on to a pod", in: packet, out: packet, at: k.objects.PodL2, camein: here, flags: light | last | pod, same: true},
		{name: "out of a tunnel", in: tunnelled, out: packet, at: k.objects.PodL2, camein: here, flags: light | last | pod | encap, same: true},
		{name: "unread", in: packet, out: broken, at: k.objects.WireL2, camein: here, flags: light | last, same: true},
		{name: "by another device", in: packet, out: packet, at: k.objects.WireL2, camein: elsewhere, flags: light | last, same: true},
		{name: "another one by another device", in: packet, out: other, at: k.objects.WireL2, camein: elsewhere, orphans: 1},
		{name: "the node's own", in: packet, out: other, at: k.objects.WireL2, flags: light | last},
		{name: "followed", followed: true, in: packet, out: packet, at: k.objects.WireL2, camein: here, flags: last, same: true},
		{name: "another one was followed", followed: true, in: packet, out: other, at: k.objects.WireL2, camein: here, orphans: 1},
	} {
		k.each(test.name, func(k *kernel) {
			n := uint32(1 << 31)
			if test.followed {
				n = 1
			}
			k.sample(n, 0, 1)
			before, after := k.inAndOut(test.in, test.at, test.out, test.camein)
			if test.flags == 0 {
				if after != (bpfobj.TracerMark{}) {
					k.Errorf("the mark is %+v, want none", after)
				}
			} else if after.Ifindex != here || after.Hook != uint8(bpfobj.TracerHookHOOK_EGRESS) || after.Flags != test.flags {
				k.Errorf("the mark is %+v, want it at the egress with flags %#x", after, test.flags)
			} else if same := after.Fingerprint == before.Fingerprint; same != test.same {
				k.Errorf("the mark is %+v, and was %+v", after, before)
			}
			if c := k.counters(); c.Malformed != 0 || c.Orphans != test.orphans {
				k.Errorf("%d malformed and %d orphans, want none and %d", c.Malformed, c.Orphans, test.orphans)
			}
		})
	}
	k.each("broken by another device", func(k *kernel) {
		k.sample(1<<31, 0, 1)
		k.pass(k.objects.IngressL2, packet, 0)
		k.pass(k.objects.WireL2, broken, elsewhere)
		if n := k.counters().Malformed; n != 1 {
			k.Errorf("%d malformed, want 1", n)
		}
	})
}

// inAndOut has a packet come in and then, in the same sk_buff, one go out. It returns the sk_buff's mark in between and
// behind. A test run mostly gets the sk_buff that the one before has freed: another one leaves the mark as it was.
func (k *kernel) inAndOut(in []byte, at *ebpf.Program, out []byte, camein uint32) (before, after bpfobj.TracerMark) {
	k.Helper()
	for range 100 {
		k.reset()
		k.pass(k.objects.IngressL2, in, 0)
		b, way := k.only()
		tag := b.Tag[way]
		before = b.Mark[way]
		k.pass(at, out, camein)
		switch {
		case b.Tag[way] == 0:
			return before, bpfobj.TracerMark{}
		case b.Tag[way] != tag || b.Mark[way] != before:
			return before, b.Mark[way]
		}
	}
	k.Fatal("the mark stays as it was")
	return
}

// only is the one slot that is in use.
func (k *kernel) only() (found *bpfobj.TracerMarks, in int) {
	k.Helper()
	for i := range k.marks {
		for way, tag := range k.marks[i].Tag {
			if tag == 0 {
				continue
			}
			if found != nil {
				k.Fatal("more than one slot is in use")
			}
			found, in = &k.marks[i], way
		}
	}
	if found == nil {
		k.Fatal("no slot is in use")
	}
	return found, in
}
