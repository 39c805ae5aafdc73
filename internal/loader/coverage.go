package loader

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// deviceClasses are the numbers under which the programs count coverage, by label of devices. A label keeps its number; those
// beyond what there are share the last one, and no coverage is known of them.
type deviceClasses map[string]uint8

const lastClass = uint8(bpfobj.TracerTableCLASS_MASK)

// of is the class of a device. A bridge's port is marked, and an ifb.
func (c deviceClasses) of(d netdev.Device, port bool) uint8 {
	label := d.Role.Label(d.Name)
	class, known := c[label]
	if !known {
		class = min(uint8(len(c)), lastClass)
		c[label] = class
	}
	if port {
		class |= uint8(bpfobj.TracerTableCLASS_PORT)
	}
	if d.Role == netdev.RoleIFB {
		class |= uint8(bpfobj.TracerTableCLASS_BEGINS)
	}
	return class
}

// podPorts are the pods' devices that are ports of a bridge, by index. Frames for the bridge's own MAC, and for other ports,
// look there as if they were for another host. At an uplink that is a port many really are.
func podPorts(devices []netdev.Device) map[int]bool {
	ports := map[int]bool{}
	for _, bridge := range devices {
		if bridge.Role != netdev.RoleBridge {
			continue
		}
		for _, d := range devices {
			if d.Role == netdev.RolePod && slices.Contains(bridge.Lower, d.Index) {
				ports[d.Index] = true
			}
		}
	}
	return ports
}

// HookCoverage is the coverage of a device's two tc hooks; of all pods' devices together.
type HookCoverage struct{ Ingress, Egress record.Coverage }

// Coverage reads how much the hooks have seen, by label of devices.
func (l *Loader) Coverage() (map[string]HookCoverage, error) {
	cpus, err := l.readCounters()
	if err != nil {
		return nil, err
	}
	inFlight, err := l.objects.table.begunInFlight(Monotonic())
	if err != nil {
		return nil, err
	}
	at := func(index int) (sum record.Coverage) {
		for i := range cpus {
			c := &cpus[i].Coverage[index]
			sum.Add(record.Coverage{
				Packets: c.Packets, Variance: c.Variance, Segments: c.Segments[0] + c.Segments[1], Begun: c.Segments[1],
				Ended: c.Ended, Merged: c.Merged,
			})
		}
		sum.InFlight = inFlight[index]
		return sum
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	coverage := make(map[string]HookCoverage, len(l.classes))
	for label, class := range l.classes {
		if class < lastClass {
			coverage[label] = HookCoverage{Ingress: at(2 * int(class)), Egress: at(2*int(class) + 1)}
		}
	}
	return coverage, nil
}

// mayEndWithin is for how long a packet that no qdisc holds is taken for one that may come to an end yet. Some wait for longer and do
// so, but most of what is not seen again for so long has left by a way without a hook.
const mayEndWithin = time.Second

// begunInFlight are the segments of open journeys that are to be counted at their end, by where that is. A slot that changes
// meanwhile may be counted wrongly, or not.
func (t table) begunInFlight(now time.Duration) (sums [len(bpfobj.TracerCounters{}.Coverage)]uint64, err error) {
	err = t.each(func(b *bpfobj.TracerBucketSlots, journeys *bpfobj.TracerBucketJourneys) {
		for slot := range b.Tag {
			head := loadHead(b, slot)
			if head.tag == 0 || !isOpen(head.state) {
				continue
			}
			j := loadWords(&journeys.Journey[slot])
			if j.BegunAt == 0 || int(j.BegunAt) > len(sums) || !head.isOf(&j) {
				continue
			}
			var r record.Record
			convertJourney(&j, &r)
			if r.Len == 0 {
				continue
			}
			if last := r.Hops[r.Len-1]; now-last.Time <= mayEndWithin || last.Hook == record.Egress || last.Hook == record.Dequeue {
				sums[j.BegunAt-1] += uint64(j.Weight) * uint64(j.Segments)
			}
		}
	})
	return sums, err
}

// SetOwnAddresses tells the programs the addresses of the node's own sockets: the traced namespace's, and others behind which NAT
// puts them. What is sent there is not taken for what goes on through the node.
func (l *Loader) SetOwnAddresses(addresses []netip.Addr) error {
	var bits [bpfobj.TracerTableOWN_ADDRESS_BITS / 64]uint64
	for _, a := range addresses {
		hash := ownHash(a)
		bits[hash>>6] |= 1 << (hash & 63)
	}
	l.own.Lock()
	defer l.own.Unlock()
	if bits == l.ownBits {
		return nil
	}
	if err := l.objects.OwnAddresses.Set(&bits); err != nil {
		return fmt.Errorf("update BPF map of own addresses: %w", err)
	}
	l.ownBits = bits
	return nil
}

// ownHash is that of may_be_own() in bpf/coverage.bpf.h.
func ownHash(a netip.Addr) uint64 {
	b := a.As16()
	const goldenRatio = 0x9e3779b97f4a7c15
	return (binary.NativeEndian.Uint64(b[:8]) ^ binary.NativeEndian.Uint64(b[8:])) * goldenRatio >> 48
}
