package agent

import (
	"testing"

	"tracer/internal/netdev"
)

func TestActiveDevices(t *testing.T) {
	t.Parallel()
	var a activeDevices
	update := func(eth0, function, pod uint64) map[string]bool {
		devices := []netdev.Device{{Index: 2, Name: "eth0", Role: netdev.RoleUplink}, {Index: 4, Name: "cali1", Role: netdev.RolePod}}
		devices[0].Traffic.TxPackets, devices[1].Traffic.TxPackets = eth0, pod
		if function > 0 {
			devices = append(devices, netdev.Device{Index: 3, Name: "eth0v3", Role: netdev.RoleUplink, Traffic: netdev.Traffic{TxPackets: function}})
		}
		return a.update(devices)
	}
	// What a virtual function has sent for the pod that had it before does not count.
	if got := update(1000, 5000, 0); len(got) != 0 {
		t.Errorf("active at once: %v", got)
	}
	if got := update(1000+minActivePackets, 5003, 100); len(got) != 1 || !got["eth0"] {
		t.Errorf("active: %v", got)
	}
	update(2000, 0, 0) // to a pod, and back with what it has sent there
	if got := update(2000, 9000, 0); len(got) != 1 || !got["eth0"] {
		t.Errorf("active: %v", got)
	}
}

// TestActiveDeviceRenamed: of a device that was renamed the new name is an active one's, and the old one no longer.
func TestActiveDeviceRenamed(t *testing.T) {
	t.Parallel()
	var a activeDevices
	var got map[string]bool
	for i, name := range []string{"eth0", "eth0", "ens5"} {
		got = a.update([]netdev.Device{{Index: 2, Name: name, Role: netdev.RoleUplink, Traffic: netdev.Traffic{TxPackets: uint64(i) * minActivePackets}}})
	}
	if len(got) != 1 || !got["ens5"] {
		t.Errorf("active: %v", got)
	}
}
