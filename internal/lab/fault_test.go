package lab

import (
	"math"
	"testing"
	"time"
)

func TestFaultValidate(t *testing.T) {
	t.Parallel()
	for name, bad := range map[string]Fault{
		"nothing":          {},
		"negative delay":   {Delay: -1},
		"tiny delay":       {Delay: time.Microsecond},
		"endless delay":    {Delay: time.Hour},
		"no byte a second": {Rate: 7},
		"loss above one":   {Loss: 10},
		"loss unknown":     {Loss: math.NaN()},
		"limit and delay":  {Delay: time.Second, Limit: 1000},
		"unknown tool":     {Delay: time.Second, Tool: "iptables"},
	} {
		if err := bad.validate(); err == nil {
			t.Errorf("%s: %+v is taken", name, bad)
		}
	}
}

func TestLocate(t *testing.T) {
	t.Parallel()
	top := testTopology(t, VXLAN)
	for _, test := range []struct {
		fault        Fault
		node, device string
	}{
		{Fault{}, "node1", "vxlan.calico"},
		{Fault{Node: "node2", Device: UplinkDevice}, "node2", "eth0"},
		{Fault{Device: "pod:api"}, "node2", top.pod(API).Device},
		{Fault{Device: top.pod(Web).Device}, "node1", top.pod(Web).Device},
		{Fault{Node: "node9"}, "", ""},
		{Fault{Device: "pod:nobody"}, "", ""},
		{Fault{Node: "node1", Device: "pod:api"}, "", ""},
		{Fault{Device: "lo"}, "", ""},
	} {
		f := test.fault
		device, err := top.locate(&f)
		if (err != nil) != (test.node == "") || err == nil && (f.Node != test.node || device != test.device) {
			t.Errorf("place(%+v) = %s on %s, %v; want %s on %s", test.fault, device, f.Node, err, test.device, test.node)
		}
	}
}
