package overview

import (
	"slices"
	"testing"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// TestMarkedDevices marks a device by what may be wrong there, and not by what is told as info.
func TestMarkedDevices(t *testing.T) {
	t.Parallel()
	for severity, marked := range map[diagnose.Severity]bool{diagnose.Critical: true, diagnose.Warning: true, diagnose.Info: false} {
		in := story()
		in.Report.Findings = append(in.Report.Findings, diagnose.Finding{Cause: diagnose.ReceiverSlow, Severity: severity, Device: "eth0"})
		o := Build(in, Query{})
		i := slices.IndexFunc(o.Devices, func(d Device) bool { return d.Name == "eth0" })
		if got := slices.Contains(o.Devices[i].Causes, diagnose.ReceiverSlow); got != marked {
			t.Errorf("%s: %v", severity, o.Devices[i].Causes)
		}
	}
}

// TestFindingsAt leads from findings to devices and rows, and back.
func TestFindingsAt(t *testing.T) {
	t.Parallel()
	to := "default/api"
	o := &Overview{Findings: []diagnose.Finding{
		{Cause: diagnose.QdiscDelay, Stage: journey.Queue, Device: "tunl0"},
		{Cause: diagnose.PolicyDrop, Stage: journey.Forward, Device: "pod", Pairs: []diagnose.Pair{{Src: "default/web", Dst: "default/api", Service: &to}}},
		{Cause: diagnose.QdiscDrop, Stage: journey.Queue, Device: "pod", Evidence: []string{"root qdisc of cali2 is tbf, not noqueue"}},
		{Cause: diagnose.QdiscDrop, Stage: journey.PodQueue, Device: "pod:eth0", Pairs: []diagnose.Pair{{Src: "default/batch", Dst: "_external"}}},
		{Cause: diagnose.NoAnswer, Pairs: []diagnose.Pair{{Src: "default/web", Dst: "default/api"}}},
		{Cause: diagnose.ServerSlow, Severity: diagnose.Info, Stage: journey.Deliver, Device: "pod", Pairs: []diagnose.Pair{{Src: "default/web", Dst: "default/db"}}},
	}}
	pod := func(name, workload string) *Device {
		return &Device{Name: name, Role: netdev.RolePod, Workload: workload}
	}
	for _, test := range []struct {
		device *Device
		want   []int
	}{
		{&Device{Name: "tunl0", Role: netdev.RoleOverlay}, []int{0}},
		{&Device{Name: "eth0", Role: netdev.RoleUplink}, nil},
		{pod("cali1", "default/web"), []int{1}},
		{pod("cali2", ""), []int{2}},
		{pod("cali22", ""), nil},
		{pod("cali3", "default/batch"), []int{3}},
		{pod("cali4", "default/db"), []int{5}},
	} {
		if got := o.FindingsAt(test.device); !slices.Equal(got, test.want) {
			t.Errorf("at %s: %v, want %v", test.device.Name, got, test.want)
		}
	}
	web, api := Party{Namespace: "default", Workload: "web"}, Party{Namespace: "default", Workload: "api"}
	for _, test := range []struct {
		row  Row
		want []int
	}{
		{Row{Src: web, Dst: api}, []int{1, 4}},
		{Row{Src: api, Dst: web}, nil},
		{Row{Dst: api, Service: "default/api", Pairs: 2}, []int{1}},
		{Row{Src: Party{Namespace: "default", Workload: "batch"}, Dst: Party{Workload: "_external"}}, []int{3}},
	} {
		if got := o.FindingsOf(&test.row); !slices.Equal(got, test.want) {
			t.Errorf("of %+v: %v, want %v", test.row, got, test.want)
		}
	}
}
