package journey

import (
	"maps"
	"net/netip"
	"time"

	"tracer/internal/netdev"
)

// Device is a network device with what paths need to know of it, worked out once.
type Device struct {
	netdev.Device
	Label string // as netdev.Role.Label has it
	// Queues tells whether packets can wait in the device's root qdisc.
	Queues bool
	// PodEnd is, of a pod's device, the pod's own end of it; nil of all others.
	PodEnd *Device
	// Splits tells whether the qdisc tree may segment a GSO packet when it is enqueued.
	Splits bool
	// behindUnseen tells that what comes to the egress hook may have waited in the queue of another device, which no hook sees.
	behindUnseen bool
	// redirects tells that what has passed the ingress hook may wait in such a queue, an ifb's.
	redirects bool
}

// keepGone is how long a device is still known after it is gone. Records wait some seconds for a pod's name, and the
// packets in a device's queue are dropped as it goes.
const keepGone = 10 * time.Second

// Devices is an immutable index of the devices at one time, for any number of readers.
type Devices struct {
	byIndex   map[int]*Device
	goneSince map[int]time.Time // when it was seen that a device of byIndex is gone
	// broadcasts are the broadcast addresses of the devices' subnets.
	broadcasts []netip.Addr
	// unseenQueue is where packets wait that no egress hook has seen come; nil where there is none, or several with labels of their own.
	unseenQueue *Device
}

// NewDevices indexes a list of devices.
func NewDevices(list []netdev.Device) *Devices {
	d := &Devices{byIndex: make(map[int]*Device, len(list))}
	for _, device := range list {
		d.byIndex[device.Index] = newDevice(device, device.Role.Label(device.Name))
		if device.Role == netdev.RolePod {
			d.byIndex[device.Index].PodEnd = newDevice(device.PodEnd.AsDevice(), device.PodEnd.Label())
		}
		d.broadcasts = append(d.broadcasts, device.Broadcasts...)
	}
	labels := map[string]bool{}
	for i := range list {
		if list[i].EgressUnseen {
			d.markUnseen(&list[i])
			d.unseenQueue = d.byIndex[list[i].Index]
			labels[d.unseenQueue.Label] = true
		}
	}
	if len(labels) > 1 {
		d.unseenQueue = nil
	}
	return d
}

// markUnseen marks the devices whose hooks packets pass before or behind a queue that no hook sees.
func (d *Devices) markUnseen(at *netdev.Device) {
	switch at.Role {
	case netdev.RoleIFB:
		for _, index := range at.RedirectedFrom {
			if from := d.byIndex[index]; from != nil {
				from.redirects = true
			}
		}
	case netdev.RoleOverlay:
		for _, uplink := range d.byIndex {
			uplink.behindUnseen = uplink.behindUnseen || uplink.Role == netdev.RoleUplink
		}
	}
	d.markLower(at)
}

func (d *Devices) markLower(at *netdev.Device) {
	for _, index := range at.Lower {
		if lower := d.byIndex[index]; lower != nil && !lower.behindUnseen {
			lower.behindUnseen = true
			d.markLower(&lower.Device)
		}
	}
}

func newDevice(device netdev.Device, label string) *Device {
	return &Device{Device: device, Label: label, Queues: device.Root.Queues(), Splits: device.Root.Splits()}
}

// Updated are the devices at a later time, when those of the list are there. Those that are gone stay known for a while.
func (d *Devices) Updated(list []netdev.Device, now time.Time) *Devices {
	next := NewDevices(list)
	next.goneSince = maps.Clone(d.goneSince)
	for index, device := range d.byIndex {
		if next.byIndex[index] != nil {
			delete(next.goneSince, index)
			continue
		}
		since, ok := d.goneSince[index]
		if !ok {
			since = now
		}
		if now.Sub(since) > keepGone {
			delete(next.goneSince, index)
			continue
		}
		if next.goneSince == nil {
			next.goneSince = map[int]time.Time{}
		}
		next.byIndex[index], next.goneSince[index] = device, since
	}
	return next
}

// Find returns the device with that index, nil if there is none.
func (d *Devices) Find(ifindex int) *Device { return d.byIndex[ifindex] }
