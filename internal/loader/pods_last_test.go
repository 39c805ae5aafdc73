package loader

import (
	"fmt"
	"slices"
	"testing"

	"tracer/internal/netdev"
)

// TestPodsLast attaches to the uplink, which is the newest device, and then to one pod each time, as long as others wait.
func TestPodsLast(t *testing.T) {
	inNamespace(t)
	enough := true
	var order []string
	l, err := New(Options{Dir: t.TempDir(), edit: standIns, Enough: func() bool { return enough }, attaching: func(h Hook) {
		order = append(order, h.Device+" "+h.Name)
	}})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	var devices []netdev.Device
	for i := range 4 {
		devices = append(devices, addVeth(t, fmt.Sprintf("cali%d", i), netdev.RolePod))
	}
	devices = append(devices, addVeth(t, "eth0", netdev.RoleUplink))
	round := func(more bool, want ...string) {
		t.Helper()
		order = nil
		must(t, l.SetDevices(devices, nil))
		order = slices.DeleteFunc(order, func(hook string) bool { return hook[0] == ' ' }) // tracepoints
		if !slices.Equal(order, want) || l.Unhooked() != more {
			t.Errorf("attached %q, and there is more: %v; want %q, %v", order, l.Unhooked(), want, more)
		}
		_, omitted := l.Hooks()
		if told := slices.ContainsFunc(omitted, func(o Omission) bool { return o.Device == "cali3" }); told != more {
			t.Errorf("it is told of what is not attached yet: %v, want %v: %v", told, more, omitted)
		}
	}
	round(true, "eth0 ingress", "eth0 egress", "cali0 ingress", "cali0 egress")
	round(true, "cali1 ingress", "cali1 egress")
	enough = false
	round(false, "cali2 ingress", "cali2 egress", "cali3 ingress", "cali3 egress")
	round(false)
}
