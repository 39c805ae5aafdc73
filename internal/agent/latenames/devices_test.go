package latenames

import (
	"net/netip"
	"testing"
	"time"

	"tracer/internal/record"
)

func TestChangesOfDevices(t *testing.T) {
	t.Parallel()
	const s = time.Second
	l := &learned{known: map[netip.Addr]bool{podAddress: true}, changes: map[netip.Addr]time.Duration{}}
	w := &Waiter{source: l}
	expect := func(what string, want time.Duration) {
		t.Helper()
		if got := l.changes[podAddress]; got != want {
			t.Errorf("%s: changed at %v, want %v", what, got, want)
		}
	}
	w.SetDevices(podDevice(7), 0)
	through(w, 10*s, sent(7, 10*s))
	expect("a device that was there before us", 0)
	if got := w.LocalPods(); len(got) != 1 || got[podAddress] != 7 {
		t.Errorf("local pods are %v", got)
	}
	w.SetDevices(podDevice(7, 8), 20*s)
	through(w, 21*s, sent(8, 21*s))
	expect("another pod sends with the address of one that is there", 0)
	w.SetDevices(podDevice(8), 30*s)
	through(w, 31*s)
	expect("the device is gone", 30*s)
	if got := w.LocalPods(); len(got) != 0 {
		t.Errorf("local pods are %v", got)
	}
	w.SetDevices(podDevice(8, 9), 40*s)
	through(w, 42*s, sent(9, 42*s))
	expect("a new device has it", 40*s)
	through(w, 43*s, sent(9, 43*s))
	expect("and goes on having it", 40*s)
}

// TestLocalPodsWithoutSource: what comes out of a pod's device is the pod's own, unless much does.
func TestLocalPodsWithoutSource(t *testing.T) {
	t.Parallel()
	w := New(nil, func([]record.Record) {})
	w.SetDevices(podDevice(7, 8), 0)
	batch := []record.Record{sent(7, time.Second)}
	for i := range byte(fewAddresses + 1) {
		r := sent(8, time.Second)
		r.First.Source = netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, 2, i}), 1)
		batch = append(batch, r)
	}
	w.Add(batch, time.Second)
	if got := w.LocalPods(); len(got) != 1 || got[podAddress] != 7 {
		t.Errorf("local pods are %v", got)
	}
}
