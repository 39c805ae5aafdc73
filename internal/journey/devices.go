package journey

import (
	"maps"
	"time"

	"tracer/internal/netdev"
)

// PodLabel is the label that the devices of all pods share.
const PodLabel = netdev.PodLabel

// Device is a network device with what a path needs to know of it, worked out once.
type Device struct {
	netdev.Device
	// Label is the device's name, or PodLabel for a pod's.
	Label string
	// Queues tells whether packets can wait in the device's root qdisc.
	Queues bool
	// Splits tells whether the qdisc tree may segment a GSO packet when it is enqueued.
	Splits bool
}

// remembered is how long a device is known after it is gone. Records wait some seconds for a name, and what waited in its
// queue is dropped together with it.
const remembered = 10 * time.Second

// Devices are the devices of one moment by their index. They do not change and may be read by many at once.
type Devices struct {
	byIndex map[int]*Device
	gone    map[int]time.Time // of those that are not there any more, when this was seen
}

// NewDevices indexes a list of devices.
func NewDevices(list []netdev.Device) *Devices {
	d := &Devices{byIndex: make(map[int]*Device, len(list))}
	for _, device := range list {
		d.byIndex[device.Index] = &Device{
			Device: device,
			Label:  device.Role.Label(device.Name),
			Queues: device.Root.Queues(),
			Splits: device.Root.Splits(),
		}
	}
	return d
}

// Next are the devices of a later moment, at which the list is what there is. Those that left are known for a while.
func (d *Devices) Next(list []netdev.Device, now time.Time) *Devices {
	next := NewDevices(list)
	next.gone = maps.Clone(d.gone)
	for index, device := range d.byIndex {
		if next.byIndex[index] != nil {
			delete(next.gone, index)
			continue
		}
		since, ok := d.gone[index]
		if !ok {
			since = now
		}
		if now.Sub(since) > remembered {
			delete(next.gone, index)
			continue
		}
		if next.gone == nil {
			next.gone = map[int]time.Time{}
		}
		next.byIndex[index], next.gone[index] = device, since
	}
	return next
}

// Find returns the device with that index, nil if there is none.
func (d *Devices) Find(ifindex int) *Device { return d.byIndex[ifindex] }
