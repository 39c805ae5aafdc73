package latenames

import (
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"testing"
	"time"
	"unsafe"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// learned is an OwnerSource that the test tells what it knows.
type learned struct {
	known   map[netip.Addr]bool
	changes map[netip.Addr]time.Duration
}

func (l *learned) Resolved(a netip.Addr, _ time.Duration) bool  { return l.known[a] }
func (l *learned) LocalPods() []netip.Addr                      { return slices.Collect(maps.Keys(l.known)) }
func (l *learned) DeviceChanged(a netip.Addr, at time.Duration) { l.changes[a] = at }

var (
	podAddress  = netip.MustParseAddr("10.244.1.2")
	peerAddress = netip.MustParseAddr("10.244.2.2")
)

// sent is a record of a packet that a pod behind that device sent.
func sent(ifindex int, at time.Duration) record.Record {
	r := record.Record{Kind: record.Finished, Time: at, Len: 2}
	r.First.Source = netip.AddrPortFrom(podAddress, 1)
	r.First.Destination = netip.AddrPortFrom(peerAddress, 2)
	r.Last = r.First
	r.Hops[0] = record.Hop{Hook: record.Ingress, Ifindex: ifindex, Time: at}
	r.Hops[1] = record.Hop{Hook: record.Xmit, Ifindex: 1, Time: at}
	return r
}

func podDevice(indexes ...int) []netdev.Device {
	list := []netdev.Device{{Index: 1, Role: netdev.RoleUplink}}
	for _, i := range indexes {
		list = append(list, netdev.Device{Index: i, Role: netdev.RolePod})
	}
	return list
}

// through are the times of the records that come through.
func through(w *Waiter, now time.Duration, records ...record.Record) (times []time.Duration) {
	w.next = func(batch []record.Record) {
		for i := range batch {
			times = append(times, batch[i].Time)
		}
	}
	w.Add(records, now)
	return times
}

func TestNothingWaitsWithoutSource(t *testing.T) {
	t.Parallel()
	var w Waiter
	if got := through(&w, 0, sent(7, time.Hour)); len(got) != 1 {
		t.Errorf("passed %v", got)
	}
}

func TestRecordsWaitForNames(t *testing.T) {
	t.Parallel()
	const s = time.Second
	l := &learned{known: map[netip.Addr]bool{}, changes: map[netip.Addr]time.Duration{}}
	w := &Waiter{source: l}
	w.SetDevices(podDevice(7), 0)
	expect := func(got, want []time.Duration) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("passed %v, want %v", got, want)
		}
	}
	other := sent(1, 10*s) // not a pod's
	expect(through(w, 10*s, sent(7, 10*s), other), nil)
	expect(through(w, 11*s, sent(7, 11*s)), []time.Duration{10 * s}) // the other
	expect(through(w, 12*s), nil)                                    // both of the pod's wait for its name
	expect(through(w, 15*s), []time.Duration{10 * s})                // in vain
	if w.Unnamed() != 1 {
		t.Errorf("%d unnamed", w.Unnamed())
	}
	l.known[podAddress] = true
	expect(through(w, 15*s), []time.Duration{11 * s})
	expect(through(w, 16*s, sent(7, 16*s)), nil)
	expect(through(w, 17*s-1), nil)
	expect(through(w, 17*s), []time.Duration{16 * s})
	if got := w.HandedOn(); got != 16*s {
		t.Errorf("handed on up to %v", got)
	}
	if w.Unnamed() != 1 {
		t.Errorf("%d unnamed", w.Unnamed())
	}
}

// TestNobodysPackets: a pod also sends from, and gets packets to, addresses that are no pod's for good.
func TestNobodysPackets(t *testing.T) {
	t.Parallel()
	const s = time.Second
	l := &learned{known: map[netip.Addr]bool{}, changes: map[netip.Addr]time.Duration{}}
	w := &Waiter{source: l}
	w.SetDevices(podDevice(), 0)
	w.SetDevices(podDevice(7), 5*s)
	var records []record.Record
	for _, address := range []string{"fe80::1", "::", "0.0.0.0", "169.254.1.2", "ff02::16", "224.0.0.251", "255.255.255.255"} {
		from := sent(7, 10*s)
		from.First.Source = netip.AddrPortFrom(netip.MustParseAddr(address), 1)
		to := sent(1, 10*s)
		to.Last.Destination = netip.AddrPortFrom(netip.MustParseAddr(address), 1)
		to.Hops[1].Ifindex = 7
		records = append(records, from, to)
	}
	if got := through(w, 11*s, records...); len(got) != len(records) {
		t.Errorf("%d of %d came through after a second", len(got), len(records))
	}
	if w.Unnamed() != 0 || len(l.changes) != 0 {
		t.Errorf("%d unnamed, and %v changed", w.Unnamed(), l.changes)
	}
}

func TestWaiterIsBounded(t *testing.T) {
	t.Parallel()
	l := &learned{known: map[netip.Addr]bool{}, changes: map[netip.Addr]time.Duration{}}
	w := &Waiter{source: l}
	w.SetDevices(podDevice(7), 0)
	const n = maxDelayed + maxUnnamed + 100
	count := 0
	for left := n; left > 0; left -= 256 {
		count += len(through(w, time.Second, slices.Repeat([]record.Record{sent(7, time.Second)}, min(left, 256))...))
	}
	if count != 100 || w.Unnamed() != 100 {
		t.Errorf("%d came through, %d without a name; want 100", count, w.Unnamed())
	}
	if got := w.Early(); got != n-maxDelayed {
		t.Errorf("%d went early, want %d", got, n-maxDelayed)
	}
	if count += len(through(w, time.Hour)); count != n {
		t.Errorf("%d of %d came through", count, n)
	}
}

// TestMemory: those records that nobody names are kept as they are, all others in a fraction of that.
func TestMemory(t *testing.T) {
	heap := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	w := &Waiter{source: &learned{changes: map[netip.Addr]time.Duration{}}}
	w.SetDevices(podDevice(7), 0)
	batch := slices.Repeat([]record.Record{sent(7, time.Second)}, batchSize)
	for left := maxDelayed + 2*maxUnnamed; left > 0; left -= len(batch) {
		through(w, time.Second, batch...)
	}
	if w.delayed.len != maxDelayed || len(w.unnamed) != maxUnnamed {
		t.Errorf("%d and %d wait", w.delayed.len, len(w.unnamed))
	}
	const most = maxDelayed*100 + 3*maxUnnamed*int64(unsafe.Sizeof(record.Record{}))
	if taken := heap() - before; taken > most {
		t.Errorf("a full waiter takes %d bytes, more than %d", taken, most)
	} else {
		t.Logf("a full waiter takes %d bytes", taken)
	}
	runtime.KeepAlive(w)
}

// TestDroppedPackets learns from a packet that was lost on its way out of a pod whose the source is, and nothing of the
// destination.
func TestDroppedPackets(t *testing.T) {
	t.Parallel()
	for _, hook := range []record.Hook{record.Ingress, record.PodQueue} {
		source := &learned{known: map[netip.Addr]bool{podAddress: true, peerAddress: true}, changes: map[netip.Addr]time.Duration{}}
		w := New(source, nil)
		w.SetDevices(podDevice(5), 0)
		r := sent(5, time.Second)
		r.Kind = record.Dropped
		r.Hops[0].Hook = hook
		r.Hops[1] = record.Hop{Hook: record.Free, Ifindex: 5, Time: time.Second}
		through(w, time.Second, r)
		if got := w.LocalPods(); len(got) != 1 || got[podAddress] != 5 {
			t.Errorf("%v: %v", hook, got)
		}
	}
}
