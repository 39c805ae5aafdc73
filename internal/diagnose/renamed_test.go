package diagnose

import (
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
)

// TestRenamed: a device that was renamed in the window is compared with itself. It did not go away, and what its queue, its driver and its
// card counted before is no rise.
func TestRenamed(t *testing.T) {
	t.Parallel()
	begin := time.Date(2026, 3, 4, 14, 0, 0, 0, time.UTC)
	at := func(name string, after time.Duration) Snapshot {
		return Snapshot{
			Taken: begin.Add(after), Counts: &aggregate.Snapshot{}, ActiveDevices: map[string]bool{name: true},
			Devices: []netdev.Device{{
				Index: 2, Name: name, Role: netdev.RoleUplink, Up: true, Leaves: true,
				Root:    netdev.Qdisc{Kind: "fq_codel", Packets: 1e6, Drops: 5000},
				Traffic: netdev.Traffic{TxPackets: 1e6, RxPackets: 1e6, RxDrops: 5000},
			}},
			NICs: []netdev.NIC{{Device: name, Driver: "ena", Counters: map[string]uint64{"bw_out_allowance_exceeded": 4000}}},
		}
	}
	from := at("eth0", 0)
	r := Diagnose("node", from, at("ens5", 10*time.Second))
	if len(r.Findings) > 0 {
		t.Errorf("%+v", r.Findings)
	}
	if from.Devices[0].Name != "eth0" || from.NICs[0].Device != "eth0" {
		t.Error("the snapshot was changed")
	}
}
