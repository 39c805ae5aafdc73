package loader

import (
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

// TestClaim gives a newcomer a table that is full of one kind of slot, and sees whose place it takes.
func TestClaim(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	packet := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(1, 2, 3, "")))
	for _, test := range []struct {
		name     string
		hook     record.Hook
		flags    bpfobj.TracerFlag
		age      time.Duration
		taken    bool
		expired  uint64
		vanished string // the hook that saw last the journey whose place was taken
	}{
		{name: "live, after an ingress", hook: record.Ingress},
		{name: "live, in a long queue", hook: record.Egress, age: 299 * time.Second},
		{name: "stale, after an ingress", hook: record.Ingress, age: 2 * time.Second, taken: true, expired: 1, vanished: "ingress"},
		{name: "stale, after an egress", hook: record.Egress, age: 301 * time.Second, taken: true, expired: 1, vanished: "egress"},
		{name: "stale, in a tunnel", hook: record.Xmit, age: 2 * time.Second, taken: true, expired: 1, vanished: "xmit"},
		{name: "not sampled", hook: record.Ingress, flags: bpfobj.TracerFlagFLAG_LIGHT, taken: true},
		{name: "delivered", hook: record.Xmit, flags: bpfobj.TracerFlagFLAG_DELIVERED, taken: true},
	} {
		k.each(test.name, func(k *kernel) {
			k.fill(test.hook, test.flags, test.age)
			k.pass(k.objects.IngressL2, packet, 0)
			c := k.counters()
			if taken := c.Started == 1; taken != test.taken || c.Collisions == 1 == test.taken || c.Expired != test.expired {
				k.Errorf("started %d, collisions %d, expired %d", c.Started, c.Collisions, c.Expired)
			}
			for hook, n := range c.Vanished {
				if (hook == test.vanished) != (n == 1) {
					k.Errorf("%d vanished after %s", n, hook)
				}
			}
		})
	}
}

// fill fills the table with one kind of slot.
func (k *kernel) fill(hook record.Hook, flags bpfobj.TracerFlag, age time.Duration) {
	var marks bpfobj.TracerMarks
	var journeys bpfobj.TracerJourneys
	for way := range marks.Tag {
		marks.Tag[way] = uint64(way) + 1 // no sk_buff's
		marks.Mark[way] = bpfobj.TracerMark{Hook: uint8(hook), Flags: uint8(flags)}
		journeys.Journey[way].Hops = 1
		journeys.Journey[way].TimeNs[0] = uint64(Monotonic() - age)
	}
	// Where a packet's bucket is, nobody knows. Through memory, since on an emulated machine a system call for all of
	// them would make live slots stale.
	for i := range k.marks {
		k.marks[i], k.journeys[i] = marks, journeys
	}
}

// TestOwed has packets that found no slot stood for by the next one that does, though never by more than a few score.
func TestOwed(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{})
	packet := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6}.over(tcp(1, 2, 3, "")))
	owed := func() (cpus []uint64) {
		var all []bpfobj.TracerCounters
		if err := k.objects.Counts.Lookup(uint32(0), &all); err != nil {
			t.Fatal(err)
		}
		for _, c := range all {
			cpus = append(cpus, c.Owed)
		}
		return cpus
	}
	k.fill(record.Egress, 0, 0)
	k.pass(k.objects.IngressL2, packet, 0)
	if cpus := owed(); slices.Max(cpus) != 1 {
		t.Fatalf("one packet found no slot, owed are %v", cpus)
	}
	for _, test := range []struct{ owed, weight, left uint64 }{{0, 1, 0}, {1, 2, 0}, {64, 65, 0}, {100, 65, 36}} {
		k.reset()
		// Which CPU the packet is on, nobody knows.
		cpus := make([]bpfobj.TracerCounters, len(owed()))
		for i := range cpus {
			cpus[i].Owed = test.owed
		}
		if err := k.objects.Counts.Put(uint32(0), cpus); err != nil {
			t.Fatal(err)
		}
		k.pass(k.objects.IngressL2, packet, 0)
		open := k.open()
		if len(open) != 1 || uint64(open[0].Weight) != test.weight || slices.Min(owed()) != test.left {
			t.Errorf("owed were %d: journeys %+v, owed are %v", test.owed, open, owed())
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
		{record.Egress, 0, 100 * time.Second, fingerprint},                     // waits
		{record.Egress, 0, 301 * time.Second, fingerprint},                     // gone unseen
		{record.Ingress, 0, 2 * time.Second, fingerprint},                      // gone unseen
		{record.Egress, bpfobj.TracerFlagFLAG_LIGHT, time.Second, fingerprint}, // has no journey
		{record.Xmit, bpfobj.TracerFlagFLAG_DELIVERED, 0, fingerprint},         // sent already
		{record.Egress, 0, 0, fingerprint + 1},                                 // torn
	} {
		marks, j := &k.marks[i*1000], &k.journeys[i*1000].Journey[1]
		marks.Tag[1] = 7
		marks.Mark[1] = bpfobj.TracerMark{Hook: uint8(slot.hook), Flags: uint8(slot.flags), Fingerprint: fingerprint & 0xffff}
		j.Fingerprint, j.Hops, j.Hook[0], j.TimeNs[0] = slot.fingerprint, 1, uint8(slot.hook), uint64(Monotonic()-slot.age)
	}
	open, tornSlots, err := k.table.scan(Monotonic())
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
