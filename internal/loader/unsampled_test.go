package loader

import (
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
)

// Flags of a slot.
const (
	unsampled = uint8(bpfobj.TracerFlagFLAG_UNSAMPLED)
	leaves    = uint8(bpfobj.TracerFlagFLAG_LEAVES)
	pod       = uint8(bpfobj.TracerFlagFLAG_POD)
	encap     = uint8(bpfobj.TracerFlagFLAG_ENCAP)
)

// TestUnsampledForward has packets come to an egress that came in before. An unsampled one, whose slot says that it came in
// by its own device, is not parsed: even what is no packet has its slot moved on. All others are.
func TestUnsampledForward(t *testing.T) {
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
		name    string
		sampled bool
		in, out []byte
		at      *place
		camein  uint32
		flags   uint8  // 0: the slot is empty
		same    bool   // it is of the packet that came in
		missed  uint64 // packets whose ingress was
	}{
		{name: "on to the wire", in: packet, out: packet, at: k.finalL2, camein: here, flags: unsampled | leaves, same: true},
		{name: "on to a pod", in: packet, out: packet, at: k.podL2, camein: here, flags: unsampled | leaves | pod, same: true},
		{name: "out of a tunnel", in: tunnelled, out: packet, at: k.podL2, camein: here, flags: unsampled | leaves | pod | encap, same: true},
		{name: "unread", in: packet, out: broken, at: k.finalL2, camein: here, flags: unsampled | leaves, same: true},
		{name: "by another device", in: packet, out: packet, at: k.finalL2, camein: elsewhere, flags: unsampled | leaves, same: true},
		{name: "another one by another device", in: packet, out: other, at: k.finalL2, camein: elsewhere, missed: 1},
		{name: "the node's own", in: packet, out: other, at: k.finalL2, flags: unsampled | leaves},
		{name: "sampled", sampled: true, in: packet, out: packet, at: k.finalL2, camein: here, flags: leaves, same: true},
		{name: "another one was sampled", sampled: true, in: packet, out: other, at: k.finalL2, camein: here, missed: 1},
	} {
		k.each(test.name, func(k *kernel) {
			n := uint32(1 << 31)
			if test.sampled {
				n = 1
			}
			k.sample(n, 0, 1)
			before, after := k.inAndOut(test.in, test.at, test.out, test.camein)
			if test.flags == 0 {
				if after != (bpfobj.TracerSlotState{}) {
					k.Errorf("the slot is %+v, want it empty", after)
				}
			} else if after.Ifindex != here || after.Hook != uint8(bpfobj.TracerHookHOOK_EGRESS) || after.Flags != test.flags {
				k.Errorf("the slot is %+v, want it at the egress with flags %#x", after, test.flags)
			} else if same := after.Fingerprint == before.Fingerprint; same != test.same {
				k.Errorf("the slot is %+v, and was %+v", after, before)
			}
			if c := k.counters(); c.Malformed != 0 || c.NoIngress != test.missed {
				k.Errorf("%d malformed and %d without an ingress, want none and %d", c.Malformed, c.NoIngress, test.missed)
			}
		})
	}
	k.each("broken by another device", func(k *kernel) {
		k.sample(1<<31, 0, 1)
		k.pass(k.inL2, packet, 0)
		k.pass(k.finalL2, broken, elsewhere)
		if n := k.counters().Malformed; n != 1 {
			k.Errorf("%d malformed, want 1", n)
		}
	})
}

// inAndOut has a packet come in and then, in the same sk_buff, one go out. It returns the state of the slot in
// between and behind. A test run mostly gets the sk_buff that the one before has freed: another one leaves it as it was.
func (k *kernel) inAndOut(in []byte, at *place, out []byte, camein uint32) (before, after bpfobj.TracerSlotState) {
	k.Helper()
	for range 100 {
		k.reset()
		k.pass(k.inL2, in, 0)
		b, slot := k.only()
		tag := b.Tag[slot]
		before = b.State[slot]
		k.pass(at, out, camein)
		switch {
		case b.Tag[slot] == 0:
			return before, bpfobj.TracerSlotState{}
		case b.Tag[slot] != tag || b.State[slot] != before:
			return before, b.State[slot]
		}
	}
	k.Fatal("the slot stays as it was")
	return
}

// only is the one slot that is in use.
func (k *kernel) only() (found *bpfobj.TracerBucketSlots, in int) {
	k.Helper()
	for i := range k.buckets {
		for slot, tag := range k.buckets[i].Tag {
			if tag == 0 {
				continue
			}
			if found != nil {
				k.Fatal("more than one slot is in use")
			}
			found, in = &k.buckets[i], slot
		}
	}
	if found == nil {
		k.Fatal("no slot is in use")
	}
	return found, in
}
