package latenames

import (
	"maps"
	"net/netip"
	"slices"
	"time"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// SetDevices says which devices there are since when. Only those that come later are known to be new.
func (w *Waiter) SetDevices(devices []netdev.Device, since time.Duration) {
	before := w.pods.Load()
	pods := &podDevices{since: since, appeared: map[int]time.Duration{}}
	for i := range devices {
		index := devices[i].Index
		if devices[i].Role != netdev.RolePod {
			continue
		}
		if before != nil {
			known, ok := before.appeared[index]
			if !ok {
				known = since
			}
			pods.appeared[index] = known
		} else {
			pods.appeared[index] = 0
		}
	}
	w.pods.Store(pods)
}

// IsPod tells whether a device is a pod's.
func (w *Waiter) IsPod(ifindex int) bool {
	pods := w.pods.Load()
	if pods == nil {
		return false
	}
	_, ok := pods.appeared[ifindex]
	return ok
}

// fewAddresses are as many as a pod may have itself. A pod out of which more come passes others' packets on.
const fewAddresses = 4

// LocalPods are the devices of this node's pods, by address, as far as packets have shown them. Where no source knows pods'
// addresses, they are those that come out of pods' devices, few of each.
func (w *Waiter) LocalPods() map[netip.Addr]int {
	if w.source == nil {
		found := w.PodDevices()
		behind := map[int]int{}
		for _, ifindex := range found {
			behind[ifindex]++
		}
		maps.DeleteFunc(found, func(_ netip.Addr, ifindex int) bool { return behind[ifindex] > fewAddresses })
		return found
	}
	found := map[netip.Addr]int{}
	pods := w.source.LocalPods()
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, address := range pods {
		if ifindex, ok := w.deviceOf[address]; ok {
			found[address] = ifindex
		}
	}
	return found
}

// PodDevices are the devices behind which addresses were seen, by address: those of pods, and what else came out of a pod.
func (w *Waiter) PodDevices() map[netip.Addr]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.deviceOf)
}

// IsLocalPod tells whether an address is a pod's of this node, as far as that is known.
func (w *Waiter) IsLocalPod(address netip.Addr) bool {
	return w.source != nil && slices.Contains(w.source.LocalPods(), address)
}

// takeDevices takes up which devices there are, and tells the source of addresses whose device is gone.
func (w *Waiter) takeDevices() {
	now := w.pods.Load()
	if now == w.current {
		return
	}
	w.current = now
	for address, ifindex := range w.deviceOf {
		if _, there := now.appeared[ifindex]; !there {
			delete(w.deviceOf, address)
			w.deviceChanged(address, now.since)
		}
	}
}

// learnDevices takes from a record which device an address is behind, and tells the source where that is a new device. An
// address stays behind the device at which it was seen first, as long as that is there: others' addresses may come out of
// a pod too.
func (w *Waiter) learnDevices(r *record.Record) {
	w.podEnds(r, func(ifindex int, appeared time.Duration, address netip.Addr) {
		before, known := w.deviceOf[address]
		if known {
			if before == ifindex {
				return
			}
			if _, there := w.current.appeared[before]; there {
				return
			}
		}
		if len(w.deviceOf) >= maxAddresses {
			clear(w.deviceOf)
		}
		if w.deviceOf == nil {
			w.deviceOf = map[netip.Addr]int{}
		}
		w.deviceOf[address] = ifindex
		if appeared != 0 {
			w.deviceChanged(address, appeared)
		}
	})
}

// deviceChanged tells the source, if there is one.
func (w *Waiter) deviceChanged(address netip.Addr, at time.Duration) {
	if w.source != nil {
		w.source.DeviceChanged(address, at)
	}
}
