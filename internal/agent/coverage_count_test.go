package agent

import (
	"net/netip"
	"testing"
	"time"

	"tracer/internal/loader"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestCoverageCountsHookedTime: what a device counts is compared only while it has the hook. What it counted before, and what
// nobody has read when it goes, is left out.
func TestCoverageCountsHookedTime(t *testing.T) {
	t.Parallel()
	var c coverage
	pod := func(index int, rx uint64) netdev.Device {
		return netdev.Device{Index: index, Name: "cali", Kind: "veth", Role: netdev.RolePod, Traffic: netdev.Traffic{RxPackets: rx, RxBytes: 100 * rx}}
	}
	hook := func(index int, up bool) loader.HookStatus {
		return loader.HookStatus{Hook: loader.Hook{Name: "ingress", Ifindex: index}, Attached: up}
	}
	for i, step := range []struct {
		devices []netdev.Device
		hooks   []loader.HookStatus
		want    uint64 // packets counted up to now
	}{
		{[]netdev.Device{pod(1, 1000)}, []loader.HookStatus{hook(1, true)}, 0},
		{[]netdev.Device{pod(1, 1010), pod(2, 70)}, []loader.HookStatus{hook(1, true), hook(2, false)}, 10},
		{[]netdev.Device{pod(1, 1020), pod(2, 90)}, []loader.HookStatus{hook(1, true), hook(2, true)}, 20},
		{[]netdev.Device{pod(1, 1030), pod(2, 95)}, []loader.HookStatus{hook(1, true), hook(2, true)}, 35},
		{[]netdev.Device{pod(2, 100)}, []loader.HookStatus{hook(2, true)}, 40}, // the first has gone
		{[]netdev.Device{pod(1, 5), pod(2, 100)}, []loader.HookStatus{hook(1, true), hook(2, true)}, 40},
		{[]netdev.Device{pod(1, 2), pod(2, 100)}, []loader.HookStatus{hook(1, true), hook(2, true)}, 40}, // another one with its index
	} {
		c.add(step.devices, step.hooks)
		count := c.hooks[labelledHook{netdev.PodLabel, record.Ingress}]
		if count.packets != step.want || count.bytes != 100*step.want {
			t.Errorf("step %d: %d packets of %d bytes, want %d", i, count.packets, count.bytes, step.want)
		}
	}
}

// TestCoverageOfRenamed: what a device counted since it was read last under another name belongs to neither.
func TestCoverageOfRenamed(t *testing.T) {
	t.Parallel()
	var c coverage
	hooks := []loader.HookStatus{{Hook: loader.Hook{Name: "ingress", Ifindex: 2}, Attached: true}}
	for i, name := range []string{"eth0", "eth0", "ens5", "ens5"} {
		c.add([]netdev.Device{{Index: 2, Name: name, Role: netdev.RoleUplink, Traffic: netdev.Traffic{RxPackets: 1000 + uint64(i)*10}}}, hooks)
	}
	for _, name := range []string{"eth0", "ens5"} {
		if n := c.hooks[labelledHook{name, record.Ingress}].packets; n != 10 {
			t.Errorf("%s: %d packets, want 10", name, n)
		}
	}
}

// TestSilence: a hook is silent while the device counts and it sees nothing, for long enough and of enough packets.
func TestSilence(t *testing.T) {
	t.Parallel()
	var s silence
	start := time.Date(2026, 3, 4, 14, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		at            time.Duration
		seen, packets uint64
		missed        uint64
	}{
		{0, 10, 100, 0},
		{4 * time.Second, 10, 200, 0}, // not for long
		{6 * time.Second, 10, 110, 0},
		{7 * time.Second, 10, 250, 150},
		{8 * time.Second, 11, 260, 0}, // it runs
		{20 * time.Second, 11, 270, 0},
		{21 * time.Second, 11, 300, 40},
	} {
		s.update(step.seen, step.packets, start.Add(step.at), 30)
		if s.missed != step.missed {
			t.Errorf("after %v: %d missed, want %d", step.at, s.missed, step.missed)
		}
	}
}

// TestOwnAddresses: the node's packets show under which addresses its own sockets answer; those of pods are none of them.
func TestOwnAddresses(t *testing.T) {
	t.Parallel()
	node, service, pod := netip.MustParseAddr("172.18.0.2"), netip.MustParseAddr("10.96.0.1"), netip.MustParseAddr("10.244.1.2")
	sent := func(from netip.Addr, hook record.Hook) record.Record {
		r := record.Record{Kind: record.Finished, Len: 1, Weight: 2, Segments: 3, Time: time.Second}
		r.First.Source, r.Hops[0].Hook = netip.AddrPortFrom(from, 443), hook
		return r
	}
	isPod := func(a netip.Addr) bool { return a == pod }
	var o ownAddresses
	o.setNode([]netip.Addr{node}, nil, 0)
	if got, changed := o.take(); !changed || len(got) != 1 {
		t.Errorf("at first: %v, %v", got, changed)
	}
	o.learn([]record.Record{sent(node, record.Egress), sent(pod, record.Egress), sent(service, record.Ingress)}, isPod)
	if got, changed := o.take(); changed || o.doubted() != 0 {
		t.Errorf("nothing new, and yet %v, doubt %d", got, o.doubted())
	}
	o.learn([]record.Record{sent(service, record.Egress), sent(service, record.Egress)}, isPod)
	if got, changed := o.take(); !changed || len(got) != 2 || o.doubted() != 6 {
		t.Errorf("a Service: %v, %v, doubt %d", got, changed, o.doubted())
	}
	o.setNode([]netip.Addr{node}, nil, time.Second+2*ownIdle)
	if got, _ := o.take(); len(got) != 1 {
		t.Errorf("long unused: %v", got)
	}
}
