package loader

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// TestMakeRoom gives a newcomer a table that is full of one kind of slot, and sees whose place it takes.
func TestMakeRoom(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	packet := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(1, 2, 3, "")))
	for _, test := range []struct {
		name       string
		hook       record.Hook
		flags      bpfobj.TracerFlag
		age        time.Duration
		taken      bool
		stale      uint64
		unfinished string // the hook that saw last the journey whose slot was taken
	}{
		{name: "live, after an ingress", hook: record.Ingress},
		{name: "live, in a long queue", hook: record.Egress, age: 299 * time.Second},
		{name: "stale, after an ingress", hook: record.Ingress, age: 2 * time.Second, taken: true, stale: 1, unfinished: "ingress"},
		{name: "stale, after an egress", hook: record.Egress, age: 301 * time.Second, taken: true, stale: 1, unfinished: "egress"},
		{name: "stale, in a tunnel", hook: record.Xmit, age: 2 * time.Second, taken: true, stale: 1, unfinished: "xmit"},
		{name: "not sampled", hook: record.Ingress, flags: bpfobj.TracerFlagFLAG_UNSAMPLED, taken: true},
		{name: "reported", hook: record.Xmit, flags: bpfobj.TracerFlagFLAG_REPORTED, taken: true},
	} {
		k.each(test.name, func(k *kernel) {
			k.fill(test.hook, test.flags, test.age)
			k.pass(k.inL2, packet, 0)
			c := k.counters()
			if taken := c.Started == 1; taken != test.taken || c.TableFull == 1 == test.taken || c.EvictedStale != test.stale {
				k.Errorf("%d started, %d found the table full, %d were stale", c.Started, c.TableFull, c.EvictedStale)
			}
			for hook, n := range c.Unfinished {
				if (hook == test.unfinished) != (n == 1) {
					k.Errorf("%d unfinished after %s", n, hook)
				}
			}
		})
	}
}

// fill fills the table with one kind of slot.
func (k *kernel) fill(hook record.Hook, flags bpfobj.TracerFlag, age time.Duration) {
	var slots bpfobj.TracerBucketSlots
	var journeys bpfobj.TracerBucketJourneys
	for slot := range slots.Tag {
		slots.Tag[slot] = uint64(slot) + 1 // no sk_buff's
		slots.State[slot] = bpfobj.TracerSlotState{Hook: uint8(hook), Flags: uint8(flags)}
		journeys.Journey[slot].Hops = 1
		journeys.Journey[slot].TimeNs[0] = uint64(Monotonic() - age)
	}
	// Where a packet's bucket is, nobody knows. Through memory, since on an emulated machine a system call for all of
	// them would make live slots stale.
	for i := range k.buckets {
		k.buckets[i], k.journeys[i] = slots, journeys
	}
}

// TestCarriedWeight has the next packet that finds a slot carry the weight of those that found none, up to a limit.
func TestCarriedWeight(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	packet := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(1, 2, 3, "")))
	pending := func() (cpus []uint64) {
		var all []bpfobj.TracerCounters
		if err := k.objects.Counters.Lookup(uint32(0), &all); err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			cpus = append(cpus, c.PendingWeight)
		}
		return cpus
	}
	k.fill(record.Egress, 0, 0)
	k.pass(k.inL2, packet, 0)
	if cpus := pending(); slices.Max(cpus) != 1 {
		t.Fatalf("one packet found no slot, and %v are pending", cpus)
	}
	for _, test := range []struct{ pending, weight, left uint64 }{{0, 1, 0}, {1, 2, 0}, {64, 65, 0}, {100, 65, 36}} {
		k.reset()
		// Which CPU the packet is on, nobody knows.
		cpus := make([]bpfobj.TracerCounters, len(pending()))
		for i := range cpus {
			cpus[i].PendingWeight = test.pending
		}
		if err := k.objects.Counters.Put(uint32(0), cpus); err != nil {
			t.Fatal(err)
		}
		k.pass(k.inL2, packet, 0)
		open := k.open()
		if len(open) != 1 || uint64(open[0].Weight) != test.weight || slices.Min(pending()) != test.left {
			t.Errorf("%d were pending: journeys %+v, and now %v are", test.pending, open, pending())
		}
	}
	k.reset()
}

// TestScan reads from the table what is alive and whole.
func TestScan(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	const fingerprint = 0xabcd1234
	for i, slot := range []struct {
		hook        record.Hook
		flags       bpfobj.TracerFlag
		age         time.Duration
		fingerprint uint64
	}{
		{record.Egress, 0, 100 * time.Second, fingerprint},                         // waits
		{record.Egress, 0, 301 * time.Second, fingerprint},                         // gone unseen
		{record.Ingress, 0, 2 * time.Second, fingerprint},                          // gone unseen
		{record.Egress, bpfobj.TracerFlagFLAG_UNSAMPLED, time.Second, fingerprint}, // has no journey
		{record.Xmit, bpfobj.TracerFlagFLAG_REPORTED, 0, fingerprint},              // sent already
		{record.Egress, 0, 0, fingerprint + 1},                                     // torn
	} {
		b, j := &k.buckets[i*1000], &k.journeys[i*1000].Journey[1]
		b.Tag[1] = 7
		b.State[1] = bpfobj.TracerSlotState{Hook: uint8(slot.hook), Flags: uint8(slot.flags), Fingerprint: fingerprint & 0xffff}
		j.Fingerprint, j.Hops, j.Hook[0], j.TimeNs[0] = slot.fingerprint, 1, uint8(slot.hook), uint64(Monotonic()-slot.age)
	}
	open, tornSlots, err := k.table.scan(noneHeld)
	if err != nil {
		t.Fatal(err)
	}
	if len(open) != 1 || open[0].Kind != record.InFlight || open[0].Len != 1 || open[0].Hops[0].Hook != record.Egress {
		t.Errorf("open: %+v, want the one that waits", open)
	}
	if tornSlots != 1 {
		t.Errorf("%d torn slots, want 1", tornSlots)
	}
}
