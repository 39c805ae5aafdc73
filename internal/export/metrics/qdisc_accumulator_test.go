package metrics

import (
	"maps"
	"testing"

	"tracer/internal/netdev"
)

func TestQdiscAccumulator(t *testing.T) {
	t.Parallel()
	device := func(index int, name string, role netdev.Role, kind string, drops uint64) netdev.Device {
		return netdev.Device{Index: index, Name: name, Role: role, Root: netdev.Qdisc{Kind: kind, Drops: drops, Overlimits: 2 * drops}}
	}
	pod := func(index int, drops uint64) netdev.Device {
		return device(index, "cali", netdev.RolePod, "tbf", drops)
	}
	tunnel := func(kind string, drops uint64) netdev.Device {
		return device(9, "tunl0", netdev.RoleOverlay, kind, drops)
	}
	var a qdiscAccumulator
	for i, step := range []struct {
		devices []netdev.Device
		want    map[deviceQdisc]uint64
	}{
		{[]netdev.Device{pod(1, 5), pod(2, 7), tunnel("noqueue", 0)}, map[deviceQdisc]uint64{{"pod", "tbf"}: 12}},
		{[]netdev.Device{pod(1, 6), pod(2, 7), tunnel("netem", 10)}, map[deviceQdisc]uint64{{"pod", "tbf"}: 13, {"tunl0", "netem"}: 10}},
		// A pod goes with its counters, a qdisc is replaced by one of its kind.
		{[]netdev.Device{pod(2, 8), tunnel("netem", 1)}, map[deviceQdisc]uint64{{"pod", "tbf"}: 14, {"tunl0", "netem"}: 11}},
		// A new pod has the old one's index; the fault is healed.
		{[]netdev.Device{pod(1, 1), pod(2, 8), tunnel("noqueue", 0)}, map[deviceQdisc]uint64{{"pod", "tbf"}: 15, {"tunl0", "netem"}: 11}},
		{[]netdev.Device{tunnel("netem", 2)}, map[deviceQdisc]uint64{{"pod", "tbf"}: 15, {"tunl0", "netem"}: 13}},
		// The tunnel goes, its series go with it.
		{nil, map[deviceQdisc]uint64{{"pod", "tbf"}: 15}},
		{[]netdev.Device{tunnel("netem", 3)}, map[deviceQdisc]uint64{{"pod", "tbf"}: 15, {"tunl0", "netem"}: 3}},
	} {
		a.update(step.devices)
		got := map[deviceQdisc]uint64{}
		for k, n := range a.totals() {
			got[k] = n.drops
			if n.overlimits != 2*n.drops {
				t.Errorf("step %d: %v has %+v", i, k, n)
			}
		}
		if !maps.Equal(got, step.want) {
			t.Errorf("step %d: %v, want %v", i, got, step.want)
		}
	}
}
