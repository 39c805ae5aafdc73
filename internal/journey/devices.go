package journey

import "tracer/internal/record"

// PodLabel is the label that the devices of all pods share.
const PodLabel = "pod"

// Device is a network device with what a path needs to know of it, worked out once.
type Device struct {
	record.Device
	// Label is the device's name, or PodLabel for a pod's.
	Label string
	// Queues tells whether packets can wait in the device's root qdisc.
	Queues bool
	// Splits tells whether the qdisc tree may segment a GSO packet when it is enqueued.
	Splits bool
}

// Devices are the devices of one moment by their index. They do not change and may be read by many at once.
type Devices struct {
	byIndex map[int]*Device
}

// NewDevices indexes a list of devices.
func NewDevices(list []record.Device) *Devices {
	d := &Devices{byIndex: make(map[int]*Device, len(list))}
	for _, device := range list {
		label := device.Name
		if device.Role == record.RolePod {
			label = PodLabel
		}
		d.byIndex[device.Index] = &Device{
			Device: device,
			Label:  label,
			Queues: device.Root.Queues(),
			Splits: device.Root.Splits(),
		}
	}
	return d
}

// Find returns the device with that index, nil if there is none.
func (d *Devices) Find(ifindex int) *Device { return d.byIndex[ifindex] }
