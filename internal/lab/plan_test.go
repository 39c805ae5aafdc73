package lab

import (
	"math"
	"strings"
	"testing"
	"time"
)

// udp is a load of 100 packets of 100 bytes a second: 80 kbit/s.
var udp = passing{packets: 100, packetBytes: 100}

func TestPlanTBF(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault        Fault
		rate         uint64 // bytes a second
		delay, loss  float64
		limit, slack uint64
	}{
		"delay and loss":      {Fault{Delay: time.Second, Loss: 0.1}, 9000, 1, 0.1, 9100, 0},
		"delay alone":         {Fault{Delay: time.Second}, 9500, 1, 0.05, 9600, 0},
		"rate that fits loss": {Fault{Delay: time.Second, Rate: 72_000, Loss: 0.12}, 9000, 1, 0.1, 9100, 0},
		"rate and delay":      {Fault{Delay: 20 * time.Second, Rate: 50_000}, 6250, 20, 0.375, 125_100, 100},
		"rate and limit":      {Fault{Rate: 40_000, Limit: 100_000}, 5000, 20, 0.5, 100_000, 0},
		"rate alone":          {Fault{Rate: 40_000}, 5000, 30, 0.5, 150_000, 0},
		"loss alone":          {Fault{Loss: 0.5}, 5000, 0.3, 0.5, 1500, 0},
		"rate above the load": {Fault{Rate: 1e6}, 125_000, 0, 0, 3_750_000, 0},
	} {
		q, e, err := planTBF(test.fault, udp, 1464)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if q.rate != test.rate || math.Abs(float64(q.limit)-float64(test.limit)) > float64(test.slack) {
			t.Errorf("%s: %+v, want rate %d, limit %d", name, q, test.rate, test.limit)
		}
		packet := udp.packetBytes / float64(q.rate)
		if math.Abs(e.Delay-test.delay) > packet || math.Abs(e.Loss-test.loss) > 0.01 {
			t.Errorf("%s: expected %+v, want delay %v, loss %v", name, e, test.delay, test.loss)
		}
	}
}

func TestPlanTBFSaysWhatIsPossible(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		fault   Fault
		load    passing
		advises string
	}{
		"load below the rate":  {Fault{Delay: time.Second, Rate: 90_000}, udp, "up --rate 119"}, // 11250/0.95/100
		"loss does not follow": {Fault{Delay: time.Second, Rate: 40_000, Loss: 0.1}, udp, "drops 50%, not 10%"},
		"nothing passes":       {Fault{Delay: time.Second}, passing{packetBytes: 100}, "choose another device"},
		"too coarse":           {Fault{Delay: 10 * time.Millisecond}, udp, "to 300 or more"},
		"all is lost":          {Fault{Loss: 1}, udp, "less than 100%"},
		"hardly anything":      {Fault{Loss: 0.9999999}, udp, "less than"},
	} {
		if q, _, err := planTBF(test.fault, test.load, 1464); err == nil || !strings.Contains(err.Error(), test.advises) {
			t.Errorf("%s: %+v, %v; want advice with %q", name, q, err, test.advises)
		}
	}
}

// TCP calls wait for each other: the slower the path, the less they add to it.
func TestPassingCountsTCPByItsPace(t *testing.T) {
	t.Parallel()
	p := passing{packets: 10, packetBytes: 100, callBytes: 500, callEvery: 100 * time.Millisecond}
	for delay, want := range map[time.Duration]float64{0: 6000, 100 * time.Millisecond: 6000, time.Second: 1500} {
		if got := p.bytes(delay); got != want {
			t.Errorf("bytes(%v) = %v, want %v", delay, got, want)
		}
	}
}

func TestPassingByDevice(t *testing.T) {
	t.Parallel()
	for overlay, device := range map[string]string{VXLAN: "vxlan.calico", IPIP: "tunl0"} {
		top := testTopology(t, overlay)
		size := float64(top.Load.Size + ipUDP)
		headers := map[string]float64{device: 14, top.Uplink: 14 + 50}
		if overlay == IPIP {
			headers = map[string]float64{device: 0, top.Uplink: 14 + 20}
		}
		for name, header := range headers {
			requests, responses := top.passingBy("node1", name), top.passingBy("node2", name)
			if requests.packetBytes != size+header || requests.packets != top.Load.Rate {
				t.Errorf("%s %s: %+v, want packets of %v bytes", overlay, name, requests, size+header)
			}
			if responses.callBytes <= requests.callBytes {
				t.Errorf("%s %s: TCP answers %+v are not larger than requests %+v", overlay, name, responses, requests)
			}
			if idle := top.passingBy("node3", name); idle.packets != 0 || idle.callEvery != 0 {
				t.Errorf("%s %s of node3: %+v, want nothing", overlay, name, idle)
			}
		}
		if p := top.passingBy("node1", top.pod("cache").Device); p.packets != 0 {
			t.Errorf("cache: %+v, want nothing", p)
		}
	}
}

func TestPlanNetem(t *testing.T) {
	t.Parallel()
	f := Fault{Delay: 500 * time.Millisecond, Rate: 100_000, Loss: 0.1}
	q, e := planNetem(f, udp)
	if math.Abs(e.Delay-0.508) > 1e-9 || e.Loss != 0.1 {
		t.Errorf("expected %+v, want 0.508 s: the delay and a packet's own time", e)
	}
	want := []string{
		"ip netns exec n tc qdisc add dev tunl0 root handle 10: htb default 1",
		"ip netns exec n tc class add dev tunl0 parent 10: classid 10:1 htb rate 1gbit",
		"ip netns exec n tc class add dev tunl0 parent 10: classid 10:10 htb rate 100kbit",
		"ip netns exec n tc qdisc add dev tunl0 parent 10:10 handle 100: netem delay 500ms rate 100kbit loss 10.00%",
	}
	if got := q.commands("n", "tunl0"); strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("commands\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	f.Rate = 50_000
	if _, e := planNetem(f, udp); e.Delay != 16 || e.Note == "" {
		t.Errorf("expected %+v, want 1000 packets at 62.5 a second", e)
	}
}

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

func TestPlace(t *testing.T) {
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
		device, err := top.place(&f)
		if (err != nil) != (test.node == "") || err == nil && (f.Node != test.node || device != test.device) {
			t.Errorf("place(%+v) = %s on %s, %v; want %s on %s", test.fault, device, f.Node, err, test.device, test.node)
		}
	}
}
