package diagnose

import (
	"strings"
	"testing"

	"tracer/internal/netdev"
)

// shapers are those that CNIs set for so many bits a second.
func shapers(rate uint64) map[string]netdev.Qdisc {
	latency := rate / 8 / 40 // 25 ms
	return map[string]netdev.Qdisc{
		"tbf, a burst of 10 kB":      {Kind: "tbf", Handle: "1:", RateBits: rate, Burst: 10_000, Limit: latency + 10_000, LimitUnit: "bytes"},
		"tbf, a burst of 256 MB":     {Kind: "tbf", Handle: "1:", RateBits: rate, Burst: 1 << 28, Limit: latency + 1<<28, LimitUnit: "bytes"},
		"tbf, a burst without sense": {Kind: "tbf", Handle: "1:", RateBits: rate, Burst: 4711, Limit: latency + 1<<29, LimitUnit: "bytes"},
		"htb": {Kind: "htb", Handle: "1:", Default: 0x30, Children: []netdev.Qdisc{
			{Kind: "htb", Class: true, Handle: "1:1", RateBits: 8e11, CeilBits: 8e11},
			{Kind: "htb", Class: true, Handle: "1:30", RateBits: rate, CeilBits: 2 * rate},
		}},
	}
}

// full is the qdisc after a window in which it passed all that its rate lets pass.
func full(q netdev.Qdisc, seconds uint64) netdev.Qdisc {
	q.Overlimits, q.Drops = 500, 90
	at := &q
	if q.Kind == "htb" {
		q.Children = append([]netdev.Qdisc(nil), q.Children...)
		at = &q.Children[1]
	}
	at.Bytes = at.RateBits / 8 * seconds
	return q
}

// TestSetByPlugin tells the plugin's shapers from others that are nearly like them.
func TestSetByPlugin(t *testing.T) {
	t.Parallel()
	for name, shaper := range shapers(10_000_000) {
		if !setByPlugin(&shaper) {
			t.Errorf("%s is taken for somebody else's", name)
		}
	}
	for _, other := range []netdev.Qdisc{
		{Kind: "tbf", Handle: "1:", RateBits: 81_792, Burst: 1465, Limit: 1716, LimitUnit: "bytes"},          // 24.6 ms
		{Kind: "tbf", Handle: "10:", RateBits: 10_000_000, Burst: 10_000, Limit: 41_250, LimitUnit: "bytes"}, // 25 ms, and another's handle
		{Kind: "tbf", Handle: "1:", RateBits: 10_000_000, Burst: 10_000, Limit: 42_000, LimitUnit: "bytes"},
		{Kind: "htb", Handle: "1:", Children: []netdev.Qdisc{{Kind: "htb", Class: true, Handle: "1:10", RateBits: 10_000_000}}},
	} {
		if setByPlugin(&other) {
			t.Errorf("%+v is taken for the plugin's", other)
		}
	}
}

// TestPodLimits asks of limits as CNIs set them whether the pod's annotation asks for them.
func TestPodLimits(t *testing.T) {
	t.Parallel()
	const rate = 10_000_000
	for _, place := range []struct{ device, file string }{{"cali1", "pod-limit-in"}, {"bwp1", "pod-limit-out"}} {
		for name, shaper := range shapers(rate) {
			for _, test := range []struct {
				asked    uint64
				severity Severity
				verdict  Verdict
				says     string // in the summary
			}{
				{rate, Info, Healthy, "10 Mbit/s is what the pod's annotation asks for"},
				{0, Warning, Healthy, "it lets 10 Mbit/s pass, and no annotation is known that asks for it"},
				{rate * 8, Critical, Fault, "it lets 10 Mbit/s pass and the pod's annotation asks for 80 Mbit/s (by a factor of 8: bits taken for bytes, or bytes for bits)"},
				{1, Critical, Fault, "asks for 1 bit/s (in an annotation \"m\" is a thousandth, \"M\" a million)"},
				{rate * 2, Critical, Fault, "asks for 20 Mbit/s"},
			} {
				for _, bites := range []bool{true, false} {
					s := load(t, "testdata/"+place.file+".json")
					s.Devices[0].Bandwidth, s.Devices[0].Root = test.asked, shaper
					s.Before = append([]netdev.Device(nil), s.Devices...)
					s.Devices[0].Root = full(shaper, 15)
					if !bites { // no more than a full limit has to
						s.Pairs[0].Stages[0].Delay, s.Pairs[0].Drops = 0.02, s.Pairs[0].Drops[:0]
					}
					r := s.snapshots().diagnose()
					if r.Verdict != test.verdict || len(r.Findings) == 0 {
						t.Errorf("%s, %s, asked for %d: %s: %s", place.device, name, test.asked, r.Verdict, r.Summary)
						continue
					}
					if !strings.Contains(r.Summary, test.says) || !strings.Contains(r.Summary, "default/web") || !strings.Contains(r.Summary, place.device) {
						t.Errorf("%s, %s, asked for %d: %s", place.device, name, test.asked, r.Summary)
					}
					for _, f := range r.Findings {
						if f.Severity != test.severity || !strings.Contains(strings.Join(f.Evidence, "; "), "10 Mbit/s of its 10 Mbit/s (100 %) passed in the window, 500 overlimits, 90 drops") {
							t.Errorf("%s, %s, asked for %d: %s %s: %q", place.device, name, test.asked, f.Severity, f.Cause, f.Evidence)
						}
					}
				}
			}
		}
	}
}

// TestPodLimitBeside does not let one pod's limit excuse another pod's queue, nor the other way round.
func TestPodLimitBeside(t *testing.T) {
	t.Parallel()
	s := load(t, "testdata/pod-limit-beside.json")
	r := s.snapshots().diagnose()
	var critical, info *Finding
	for i := range r.Findings {
		switch f := &r.Findings[i]; {
		case f.Severity == Critical && f.Cause == QdiscDelay:
			critical = f
		case f.Severity == Info && f.Cause == QdiscDelay:
			info = f
		}
	}
	if critical == nil || critical.Pairs[0].Dst != "default/cache" || len(critical.Pairs) != 1 {
		t.Errorf("critical: %+v", critical)
	}
	if info == nil || info.Pairs[0].Dst != "default/web" || len(info.Pairs) != 1 {
		t.Errorf("info: %+v", info)
	}
}

// TestShaperOfUplink is no limit of a pod: what the uplink receives is redirected to that ifb.
func TestShaperOfUplink(t *testing.T) {
	t.Parallel()
	w := &window{to: Snapshot{Devices: []netdev.Device{{Index: 2, Role: netdev.RoleUplink}, {Index: 3, Role: netdev.RolePod}}}}
	d := netdev.Device{Index: 9, Role: netdev.RoleIFB, Root: netdev.Qdisc{Kind: "tbf", RateBits: 1e6}, RedirectedFrom: []int{3}}
	if !w.limitsPod(&d) {
		t.Error("an ifb of a pod")
	}
	if d.RedirectedFrom = []int{2}; w.limitsPod(&d) {
		t.Error("an ifb of an uplink")
	}
}

// TestLeftUnhooked allows for what leaves a device without its egress hook having seen it in the window.
func TestLeftUnhooked(t *testing.T) {
	t.Parallel()
	uplink := netdev.Device{Index: 2, Role: netdev.RoleUplink, MTU: 1500}
	ifb := netdev.Device{Index: 3, Role: netdev.RoleIFB, Root: netdev.Qdisc{Kind: "tbf", Packets: 100}}
	slow := netdev.Device{Index: 4, Role: netdev.RolePod, MTU: 1480, Root: netdev.Qdisc{Kind: "htb", BacklogPackets: 16, BacklogBytes: 1 << 20}}
	later := ifb
	later.Root.Packets = 700
	w := &window{from: Snapshot{Devices: []netdev.Device{uplink, ifb, slow}}, to: Snapshot{Devices: []netdev.Device{uplink, later, slow}}}
	if got := w.leftUnhooked([]netdev.Device{uplink}); got != 600 {
		t.Errorf("behind an ifb that splits: %d, want 600", got)
	}
	if got := w.leftUnhooked([]netdev.Device{slow}); got != 600+708 {
		t.Errorf("behind a queue of a megabyte: %d, want 1308", got)
	}
}

// TestPaced has fq hold a pod's packets until the times that a CNI sets (EDT), beside those of a pod that is held for nothing.
func TestPaced(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		asked    uint64
		delay    float64 // of the other pair
		severity Severity
		verdict  Verdict
	}{
		{10_000_000, 0.0001, Info, Healthy},
		{10_000_000, 0.5, Critical, Fault}, // the other pair's
		{0, 0.0001, Warning, Healthy},
		{0, 0.5, Critical, Fault},
	} {
		s := load(t, "testdata/pod-paced.json")
		s.Devices[1].EgressBandwidth = test.asked
		s.Pairs[0].Stages[0].Delay, s.Pairs[1].Stages[0].Delay = 0.4, test.delay
		if test.asked > 0 { // beyond the horizon
			s.Pairs[0].Drops[0].Packets = 150
		}
		r := s.snapshots().diagnose()
		if r.Verdict != test.verdict || len(r.Findings) == 0 || r.Findings[0].Severity != test.severity {
			t.Errorf("%+v: %s: %s", test, r.Verdict, r.Summary)
			continue
		}
		if test.severity == Info && !strings.Contains(r.Summary, "on purpose the limit of what default/web sends, at eth0 holds packets 400 ms (p50) (the pod's annotation lets it send 10 Mbit/s)") {
			t.Errorf("summary %s", r.Summary)
		}
	}
}
