package loader

import (
	"fmt"
	"maps"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
)

const (
	deviceBuckets = uint32(bpfobj.TracerTableDEVICE_BUCKETS)
	bucketDevices = len(bpfobj.TracerDeviceBucket{}.Device)
)

// deviceTable is what the programs know of devices, by bucket as find_device() in bpf/config.bpf.h looks for them. A device
// beyond what a bucket holds is not in it.
type deviceTable map[uint32]bpfobj.TracerDeviceBucket

func newDeviceTable(devices []netdev.Device, class func(netdev.Device) uint8) deviceTable {
	t := deviceTable{}
	for _, d := range devices {
		t.add(d, class(d))
	}
	return t
}

// add tells whether there was room.
func (t deviceTable) add(d netdev.Device, class uint8) bool {
	index := uint32(d.Index)
	bucket := t[index%deviceBuckets]
	for i := range bucket.Device {
		if bucket.Device[i].Ifindex == 0 {
			bucket.Device[i] = describeDevice(d)
			bucket.Device[i].Class = class
			t[index%deviceBuckets] = bucket
			return true
		}
	}
	return false
}

// describeDevice says what a packet meets at a device: where its IP header is, whether it leaves the namespace behind it, and
// what its qdisc, and that at a pod's end, does to large ones.
func describeDevice(d netdev.Device) bpfobj.TracerDevice {
	to := bpfobj.TracerDevice{Ifindex: uint32(d.Index)}
	if d.Ethernet {
		to.Ethernet = 1
	}
	if d.Root.Splits() {
		to.Splits |= uint8(bpfobj.TracerSplitsSPLITS)
	}
	if d.PodEnd != nil && d.PodEnd.Root.Splits() {
		to.Splits |= uint8(bpfobj.TracerSplitsPOD_SPLITS)
	}
	if d.Leaves {
		to.Flags = uint8(bpfobj.TracerFlagFLAG_LEAVES)
		switch {
		case d.Role == netdev.RolePod:
			to.Flags |= uint8(bpfobj.TracerFlagFLAG_POD)
		case d.Hides():
			to.Flags |= uint8(bpfobj.TracerFlagFLAG_TUNNEL)
		}
	}
	return to
}

// splitting is how many of the devices split large packets.
func (t deviceTable) splitting() (n uint32) {
	for _, bucket := range t {
		for _, d := range bucket.Device {
			if d.Splits != 0 {
				n++
			}
		}
	}
	return n
}

// splits tells whether a device's qdisc, or that at the pod's end, splits large packets.
func (t deviceTable) splits(ifindex int) bool {
	for _, d := range t[uint32(ifindex)%deviceBuckets].Device {
		if d.Ifindex == uint32(ifindex) && d.Splits != 0 {
			return true
		}
	}
	return false
}

// setDeviceTable makes the kernel's table, which is l.devices, the one that is wanted.
func (l *Loader) setDeviceTable(want deviceTable) error {
	if maps.Equal(l.devices, want) {
		return nil
	}
	var all [deviceBuckets]bpfobj.TracerDeviceBucket
	for index, bucket := range want {
		all[index] = bucket
	}
	// A program that reads meanwhile sees each field as it was or as it will be. Both are right, or the device has come, gone or
	// changed just now.
	if err := l.objects.Devices.Set(&all); err != nil {
		return fmt.Errorf("update BPF map of devices: %w", err)
	}
	l.devices = want
	return nil
}
