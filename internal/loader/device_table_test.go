package loader

import (
	"strings"
	"testing"
	"time"

	"tracer/internal/bpfobj"
	"tracer/internal/netdev"
)

func TestDescribeDevice(t *testing.T) {
	t.Parallel()
	const leaves, pod = uint8(bpfobj.TracerFlagFLAG_LEAVES), uint8(bpfobj.TracerFlagFLAG_POD)
	const tunnel = uint8(bpfobj.TracerFlagFLAG_TUNNEL)
	tbf := netdev.Qdisc{Kind: "tbf"}
	for _, test := range []struct {
		name   string
		device netdev.Device
		want   bpfobj.TracerDevice
	}{
		{"pod", netdev.Device{Index: 7, Role: netdev.RolePod, Ethernet: true, Leaves: true},
			bpfobj.TracerDevice{Ifindex: 7, Ethernet: 1, Flags: leaves | pod}},
		{"pod without ethernet", netdev.Device{Index: 7, Role: netdev.RolePod, Leaves: true},
			bpfobj.TracerDevice{Ifindex: 7, Flags: leaves | pod}},
		{"ipip that splits", netdev.Device{Index: 8, Role: netdev.RoleOverlay, Root: tbf},
			bpfobj.TracerDevice{Ifindex: 8, Splits: 1}},
		{"vxlan", netdev.Device{Index: 9, Role: netdev.RoleOverlay, Ethernet: true}, bpfobj.TracerDevice{Ifindex: 9, Ethernet: 1}},
		{"uplink", netdev.Device{Index: 1, Role: netdev.RoleUplink, Ethernet: true, Leaves: true},
			bpfobj.TracerDevice{Ifindex: 1, Ethernet: 1, Flags: leaves}},
		{"wireguard", netdev.Device{Index: 3, Role: netdev.RoleOverlay, Kind: "wireguard", Leaves: true},
			bpfobj.TracerDevice{Ifindex: 3, Flags: leaves | tunnel}},
		{"macsec", netdev.Device{Index: 4, Role: netdev.RoleUplink, Kind: "macsec", Ethernet: true, Leaves: true},
			bpfobj.TracerDevice{Ifindex: 4, Ethernet: 1, Flags: leaves | tunnel}},
		{"bond", netdev.Device{Index: 2, Role: netdev.RoleUplink, Ethernet: true}, bpfobj.TracerDevice{Ifindex: 2, Ethernet: 1}},
	} {
		if got := describeDevice(test.device); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func noClass(netdev.Device) uint8 { return 0 }

// TestDeviceTable has devices whose indexes fall together: two have room, the third gets no hooks, and the plan says so.
func TestDeviceTable(t *testing.T) {
	t.Parallel()
	var devices []netdev.Device
	for i, name := range []string{"cali1", "cali2", "cali3", "eth0"} {
		devices = append(devices, netdev.Device{Index: 7 + i*int(deviceBuckets), Name: name, Role: netdev.RolePod, Ethernet: true})
	}
	devices[3].Index = 8
	table := newDeviceTable(devices, noClass)
	bucket := table[7]
	if len(table) != 2 || bucket.Device[0].Ifindex != 7 || bucket.Device[1].Ifindex != 7+deviceBuckets || table[8].Device[0].Ifindex != 8 {
		t.Errorf("table %+v", table)
	}
	plan, err := PlanHooks(Features{Tracepoints: allTracepoints(), TCX: true, DropReasons: true}, devices,
		func(int) time.Duration { return time.Hour })
	if err != nil {
		t.Fatal(err)
	}
	if len(plan.Omitted) != 1 || plan.Omitted[0].Device != "cali3" || !strings.Contains(plan.Omitted[0].Reason, "no room for this device") {
		t.Errorf("omitted: %+v", plan.Omitted)
	}
	for _, h := range plan.Hooks {
		if h.Device == "cali3" {
			t.Errorf("%+v is planned", h)
		}
	}
}

// TestSetDeviceTable follows the kernel's table while devices come, change and go.
func TestSetDeviceTable(t *testing.T) {
	t.Parallel()
	inNamespace(t)
	l, err := New(Options{Dir: t.TempDir(), Kernel: &ofAllTests, edit: standIns})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	pod := netdev.Device{Index: 7, Role: netdev.RolePod, Ethernet: true, Leaves: true}
	twin := netdev.Device{Index: 7 + int(deviceBuckets), Role: netdev.RoleOverlay}
	shaped := twin
	shaped.Root = netdev.Qdisc{Kind: "tbf"}
	for _, devices := range [][]netdev.Device{{pod}, {pod, twin}, {pod, shaped}, {twin}, {}} {
		if err := l.setDeviceTable(newDeviceTable(devices, noClass)); err != nil {
			t.Fatal(err)
		}
		var got [deviceBuckets]bpfobj.TracerDeviceBucket
		if err := l.objects.Devices.Get(&got); err != nil {
			t.Fatal(err)
		}
		var want [deviceBuckets]bpfobj.TracerDeviceBucket
		want[7] = newDeviceTable(devices, noClass)[7]
		if got != want {
			t.Errorf("%+v: the kernel has %+v at 7, want %+v alone", devices, got[7], want[7])
		}
	}
}
