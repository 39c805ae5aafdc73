package agent

import (
	"testing"

	"tracer/internal/netdev"
)

func TestCarriers(t *testing.T) {
	t.Parallel()
	var c carriers
	see := func(eth0, function, pod uint64) map[string]bool {
		devices := []netdev.Device{{Index: 2, Name: "eth0", Role: netdev.RoleUplink}, {Index: 4, Name: "cali1", Role: netdev.RolePod}}
		devices[0].Traffic.TxPackets, devices[1].Traffic.TxPackets = eth0, pod
		if function > 0 {
			devices = append(devices, netdev.Device{Index: 3, Name: "eth0v3", Role: netdev.RoleUplink, Traffic: netdev.Traffic{TxPackets: function}})
		}
		return c.see(devices)
	}
	// What a virtual function has sent for the pod that had it before does not count.
	if got := see(1000, 5000, 0); len(got) != 0 {
		t.Errorf("in use at once: %v", got)
	}
	if got := see(1000+carriedLeast, 5003, 100); len(got) != 1 || !got["eth0"] {
		t.Errorf("in use: %v", got)
	}
	see(2000, 0, 0) // to a pod, and back with what it has sent there
	if got := see(2000, 9000, 0); len(got) != 1 || !got["eth0"] {
		t.Errorf("in use: %v", got)
	}
}
