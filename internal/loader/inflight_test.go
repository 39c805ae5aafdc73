package loader

import (
	"testing"
	"time"

	"tracer/internal/bpfobj"
	"tracer/internal/record"
)

const (
	testTag         = 0xffff_8881_0000_0100
	testFingerprint = 0x1234_5678_9abc_def0
)

// queuedSlot is a bucket with one journey, in its slot 2.
func queuedSlot(at time.Duration) (b bpfobj.TracerBucketSlots, journeys bpfobj.TracerBucketJourneys) {
	b.Tag[2] = testTag
	b.State[2] = bpfobj.TracerSlotState{Ifindex: 7, Hook: uint8(record.Egress), Fingerprint: testFingerprint & 0xffff}
	j := &journeys.Journey[2]
	j.Fingerprint, j.Hops = testFingerprint, 1
	j.Hook[0], j.Ifindex[0], j.TimeNs[0] = uint8(record.Egress), 7, uint64(at)
	return b, journeys
}

func TestScanBucket(t *testing.T) {
	t.Parallel()
	const now = time.Hour
	type bucket = bpfobj.TracerBucketSlots
	type journeys = bpfobj.TracerBucketJourneys
	for _, test := range []struct {
		name       string
		change     func(*bucket, *journeys)
		open, torn int
	}{
		{"whole", func(*bucket, *journeys) {}, 1, 0},
		{"empty", func(b *bucket, _ *journeys) { b.Tag[2] = 0 }, 0, 0},
		{"a newcomer's journey under the state before", func(_ *bucket, j *journeys) { j.Journey[2].Fingerprint++ }, 0, 1},
		{"a newcomer's state over the journey before", func(b *bucket, _ *journeys) { b.State[2].Fingerprint++ }, 0, 1},
		{"a hop that is in the journey's count and not in its list yet", func(_ *bucket, j *journeys) { j.Journey[2].Hops = 2 }, 0, 1},
		{"a hop that is in the journey and not in the state yet", func(_ *bucket, j *journeys) {
			j.Journey[2].Hook[1], j.Journey[2].Ifindex[1], j.Journey[2].Hops = uint8(record.Dequeue), 7, 2
		}, 0, 1},
		{"a hop of the journey before in its place", func(b *bucket, j *journeys) {
			b.State[2].Hook = uint8(record.Dequeue)
			j.Journey[2].Hook[1], j.Journey[2].Ifindex[1], j.Journey[2].Hops = uint8(record.Egress), 9, 2
		}, 0, 1},
		{"a journey that is not there yet", func(_ *bucket, j *journeys) { j.Journey[2] = bpfobj.TracerJourney{} }, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			b, j := queuedSlot(now - time.Second)
			test.change(&b, &j)
			open, torn := scanBucket(nil, &b, &j, func() time.Duration { return now }, noneHeld)
			if len(open) != test.open || torn != test.torn {
				t.Errorf("%d open and %d torn, want %d and %d", len(open), torn, test.open, test.torn)
			}
		})
	}
}

func noneHeld(uint64, *record.Record) bool { return false }

// TestScanHeld asks after what was last seen a while ago where nothing queues, and after nothing else.
func TestScanHeld(t *testing.T) {
	t.Parallel()
	const now = time.Hour
	for _, test := range []struct {
		hook  record.Hook
		age   time.Duration
		asked bool
	}{
		{record.Egress, 10 * time.Second, false},
		{record.Dequeue, 10 * time.Second, false},
		{record.Ingress, time.Second, false},
		{record.Ingress, 2 * time.Second, true},
		{record.Xmit, 2 * time.Second, true},
		{record.Ingress, 301 * time.Second, false},
	} {
		for _, held := range []bool{true, false} {
			b, j := queuedSlot(now - test.age)
			b.State[2].Hook, j.Journey[2].Hook[0] = uint8(test.hook), uint8(test.hook)
			asked := false
			open, _ := scanBucket(nil, &b, &j, func() time.Duration { return now }, func(key uint64, r *record.Record) bool {
				asked = key == testTag && r.Hops[0].Hook == test.hook
				return held
			})
			if want := test.age <= 300*time.Second && (held || !test.asked); asked != test.asked || (len(open) == 1) != want {
				t.Errorf("%v after %s, held %v: asked %v and %d open", test.age, test.hook, held, asked, len(open))
			}
		}
	}
}

// TestScanTime has a packet come while the clock is read: none is younger than its record.
func TestScanTime(t *testing.T) {
	t.Parallel()
	const now = time.Hour
	b, j := queuedSlot(now - time.Second)
	open, _ := scanBucket(nil, &b, &j, func() time.Duration {
		b, j = queuedSlot(now + time.Millisecond)
		return now
	}, noneHeld)
	if len(open) != 1 || open[0].Time-open[0].Hops[0].Time != time.Second {
		t.Errorf("%+v, want one of a second", open)
	}
}

// TestLoadHead changes a slot after it was looked at: each change shows when it is looked at again.
func TestLoadHead(t *testing.T) {
	t.Parallel()
	b, j := queuedSlot(0)
	before := loadHead(&b, 2)
	if before.tag != testTag || before.state != b.State[2] || !before.isOf(&j.Journey[2]) || loadHead(&b, 2) != before {
		t.Fatalf("%+v, of %+v", before, b)
	}
	for name, change := range map[string]func(b *bpfobj.TracerBucketSlots){
		"cleared":            func(b *bpfobj.TracerBucketSlots) { b.Tag[2] = 0 },
		"another packet's":   func(b *bpfobj.TracerBucketSlots) { b.Tag[2] += 256 },
		"at its next hook":   func(b *bpfobj.TracerBucketSlots) { b.State[2].Hook = uint8(record.Dequeue) },
		"at its next device": func(b *bpfobj.TracerBucketSlots) { b.State[2].Ifindex++ },
		"reported":           func(b *bpfobj.TracerBucketSlots) { b.State[2].Flags |= uint8(bpfobj.TracerFlagFLAG_REPORTED) },
		"the same address":   func(b *bpfobj.TracerBucketSlots) { b.State[2].Fingerprint++ },
	} {
		changed := b
		if change(&changed); loadHead(&changed, 2) == before {
			t.Errorf("a slot that is %s seems to be the same", name)
		}
	}
}

func TestLoadWords(t *testing.T) {
	_, journeys := queuedSlot(time.Minute)
	j := &journeys.Journey[2]
	j.SplitAt, j.Last.Destination[15] = 3, 9
	if got := loadWords(j); got != *j {
		t.Errorf("%+v, want %+v", got, *j)
	}
	if n := testing.AllocsPerRun(100, func() { loadWords(j) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
