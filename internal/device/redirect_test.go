package device

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"tracer/internal/netdev"
)

// TestRedirects reads from which devices ifbs get their packets, by the filters that people and CNIs set, in a clsact qdisc as in an
// ingress qdisc.
func TestRedirects(t *testing.T) {
	t.Parallel()
	enterNamespace(t)
	run := func(command string) {
		t.Helper()
		args := strings.Fields(command)
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	for _, name := range []string{"ifb0", "bwp1", "bwp2"} {
		run("ip link add " + name + " type ifb")
	}
	for _, name := range []string{"one", "two", "three"} {
		run("ip link add " + name + " type veth peer name " + name + "peer")
	}
	w := newWatcher(t, nil)
	from := func(name string) []int {
		t.Helper()
		s, err := w.Refresh()
		try(t, err)
		i := slices.IndexFunc(s.Devices, func(d netdev.Device) bool { return d.Name == name })
		var names []int
		for _, index := range s.Devices[i].RedirectedFrom {
			names = append(names, slices.IndexFunc(s.Devices, func(d netdev.Device) bool {
				return d.Index == index && slices.Contains([]string{"one", "two", "three"}, d.Name)
			}))
		}
		return names
	}
	if got := from("ifb0"); got != nil {
		t.Errorf("before any filter: %v", got)
	}
	run("tc qdisc add dev one ingress")
	run("tc filter add dev one parent ffff: protocol all prio 1 u32 match u32 0 0 action mirred egress redirect dev bwp1")
	// The development machine has no other classifier than u32.
	all := "u32 match u32 0 0"
	if exec.Command("tc", "qdisc", "add", "dev", "two", "clsact").Run() == nil &&
		exec.Command("tc", "filter", "add", "dev", "two", "ingress", "protocol", "all", "matchall", "action", "mirred", "egress", "redirect", "dev", "bwp2").Run() != nil {
		run("tc filter add dev two ingress protocol all " + all + " action mirred egress redirect dev bwp2")
	}
	run("tc qdisc add dev three clsact")
	run("tc filter add dev three ingress protocol ip " + all + " action mirred egress mirror dev ifb0")
	for name, want := range map[string]int{"ifb0": 0, "bwp1": 1, "bwp2": 1} {
		if got := from(name); len(got) != want || slices.Contains(got, -1) {
			t.Errorf("%s gets packets from %v, want %d devices", name, got, want)
		}
	}
	run("ip link del two")
	if got := from("bwp2"); got != nil {
		t.Errorf("after the device is gone: %v", got)
	}
}

func TestParseRedirectsCutShort(t *testing.T) {
	t.Parallel()
	for size := range 64 {
		if got := parseRedirects(make([]byte, size)); got != nil {
			t.Errorf("%d bytes: %v", size, got)
		}
	}
}
