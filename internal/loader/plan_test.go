package loader

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/netdev"
)

func allTracepoints() map[string]bool {
	all := map[string]bool{}
	for _, t := range tracepoints {
		all[t.tracepoint] = true
	}
	return all
}

// TestEgressFirst attaches no hook at ingress while one at egress is to come.
func TestEgressFirst(t *testing.T) {
	t.Parallel()
	plan, err := PlanHooks(Features{Tracepoints: allTracepoints(), TCX: true}, []netdev.Device{
		{Index: 7, Name: "eth0", Role: netdev.RoleUplink, Ethernet: true}, {Index: 8, Name: "cali1", Role: netdev.RolePod, Ethernet: true},
	}, func(int) time.Duration { return time.Hour })
	if err != nil {
		t.Fatal(err)
	}
	var order []string
	for _, h := range plan.Hooks[len(plan.Hooks)-4:] {
		order = append(order, h.Name)
	}
	if want := []string{"egress", "egress", "ingress", "ingress"}; !slices.Equal(order, want) {
		t.Errorf("the last hooks are %v, want %v", order, want)
	}
}

func TestPlanHooks(t *testing.T) {
	t.Parallel()
	old := func(int) time.Duration { return time.Hour }
	fresh := func(int) time.Duration { return time.Second }
	device := func(name string, role netdev.Role, ethernet, leaves bool) netdev.Device {
		return netdev.Device{Index: 7, Name: name, Kind: "vxlan", Role: role, Ethernet: ethernet, Leaves: leaves}
	}
	modern := Features{Tracepoints: allTracepoints(), TCX: true, DropReasons: true}
	legacy := Features{Tracepoints: allTracepoints()}
	for _, test := range []struct {
		name     string
		features Features
		device   netdev.Device
		age      func(int) time.Duration
		hooked   bool
		omitted  string // part of the reason
	}{
		{"pod", modern, device("cali1", netdev.RolePod, true, true), fresh, true, ""},
		{"pod without ethernet", modern, device("tun1", netdev.RolePod, false, true), old, true, ""},
		{"ipip", modern, device("tunl0", netdev.RoleOverlay, false, false), old, true, ""},
		{"vxlan", modern, device("flannel.1", netdev.RoleOverlay, true, false), old, true, ""},
		{"uplink", modern, device("eth0", netdev.RoleUplink, true, true), old, true, ""},
		{"bond", modern, device("bond0", netdev.RoleUplink, true, false), old, true, ""},
		{"wwan", modern, device("wwan0", netdev.RoleUplink, false, true), old, true, ""},
		{"bridge", modern, device("cni0", netdev.RoleBridge, true, false), old, false, "seen at its ports"},
		{"other", modern, device("lo", netdev.RoleOther, true, false), old, false, "neither"},
		{"fresh pod without TCX", legacy, device("cali1", netdev.RolePod, true, true), fresh, false, "left alone"},
		{"old pod without TCX", legacy, device("cali1", netdev.RolePod, true, true), old, true, ""},
		{"fresh uplink without TCX", legacy, device("eth0", netdev.RoleUplink, true, true), fresh, true, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			plan, err := PlanHooks(test.features, []netdev.Device{test.device}, test.age)
			if err != nil {
				t.Fatal(err)
			}
			var programs []string
			for _, h := range plan.Hooks {
				if h.Ifindex == 7 {
					programs = append(programs, h.Program)
				}
			}
			var want []string
			if test.hooked {
				want = []string{"egress", "ingress"}
			}
			if !slices.Equal(programs, want) {
				t.Errorf("programs %v, want %v", programs, want)
			}
			var reason string
			for _, o := range plan.Omitted {
				if o.Device == test.device.Name {
					reason = o.Reason
				}
			}
			if (reason == "") != (test.omitted == "") || !strings.Contains(reason, test.omitted) {
				t.Errorf("omitted for %q, want %q", reason, test.omitted)
			}
		})
	}
}

func TestBlindSpots(t *testing.T) {
	t.Parallel()
	f := Features{Tracepoints: allTracepoints(), TCX: true, DropReasons: true}
	for _, test := range []struct {
		device netdev.Device
		hook   string // left out
	}{
		{netdev.Device{Index: 1, Name: "tunl0", Kind: "ipip", Role: netdev.RoleOverlay}, ""},
		{netdev.Device{Index: 1, Name: "wg0", Kind: "wireguard", Role: netdev.RoleOverlay, Leaves: true}, "encap"},
		{netdev.Device{Index: 1, Name: "tun0", Kind: "tun", Role: netdev.RoleOverlay, Leaves: true}, "encap"},
		{netdev.Device{Index: 1, Name: "macsec0", Kind: "macsec", Role: netdev.RoleUplink, Leaves: true}, "encap"},
		{netdev.Device{Index: 1, Name: "eth0", Role: netdev.RoleUplink, Root: netdev.Qdisc{Kind: "tbf"}}, "queue"},
		{netdev.Device{Index: 1, Name: "eth0", Role: netdev.RoleUplink, Root: netdev.Qdisc{Kind: "fq_codel"}}, ""},
	} {
		plan, err := PlanHooks(f, []netdev.Device{test.device}, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got string
		for _, o := range plan.Omitted {
			got += o.Hook
		}
		if got != test.hook {
			t.Errorf("%s: left out %q, want %q", test.device.Name, got, test.hook)
		}
	}
}

// TestPlanOfPodQueues attaches what all devices' packets pass only while a pod has a queue of its own.
func TestPlanOfPodQueues(t *testing.T) {
	t.Parallel()
	pod := netdev.Device{Index: 1, Name: "cali1", Role: netdev.RolePod, Leaves: true}
	for _, test := range []struct {
		name           string
		end            *netdev.PodEnd
		lacks          bool
		hooked, misses bool
	}{
		{name: "nothing known"},
		{name: "only a rule", end: &netdev.PodEnd{Root: netdev.Qdisc{Kind: "noqueue"}}},
		{name: "a queue", end: &netdev.PodEnd{Queues: true, Root: netdev.Qdisc{Kind: "tbf"}}, hooked: true},
		{name: "a queue, no tracepoint", end: &netdev.PodEnd{Queues: true}, lacks: true, misses: true},
	} {
		f := Features{Tracepoints: allTracepoints(), TCX: true, DropReasons: true}
		f.Tracepoints["net_dev_queue"] = !test.lacks
		pod.PodEnd = test.end
		plan, err := PlanHooks(f, []netdev.Device{pod}, nil)
		if err != nil {
			t.Fatal(err)
		}
		hooked := slices.Contains(plan.Hooks, Hook{Program: "pod_queue", Name: "net_dev_queue"})
		if misses := len(plan.Omitted) > 0; hooked != test.hooked || misses != test.misses {
			t.Errorf("%s: hooked %v, omitted %v", test.name, hooked, plan.Omitted)
		}
	}
	if to := describeDevice(netdev.Device{PodEnd: &netdev.PodEnd{Root: netdev.Qdisc{Kind: "tbf"}}}); to.Splits != 2 {
		t.Errorf("a pod's tbf splits: %d, want 2", to.Splits)
	}
}

func TestPlanWithoutTracepoints(t *testing.T) {
	t.Parallel()
	f := Features{Tracepoints: allTracepoints(), DropReasons: true}
	f.Tracepoints["qdisc_dequeue"] = false
	plan, err := PlanHooks(f, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Omitted) != 1 || plan.Omitted[0].Hook != "qdisc_dequeue" {
		t.Errorf("omitted %+v, want qdisc_dequeue alone", plan.Omitted)
	}
	f.Tracepoints["net_dev_start_xmit"] = false
	if _, err := PlanHooks(f, nil, nil); !errors.Is(err, errUnsupported) {
		t.Errorf("without net_dev_start_xmit: %v, want errUnsupported", err)
	}
}
