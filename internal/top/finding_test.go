package top

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"tracer/internal/diagnose"
	"tracer/internal/journey"
	"tracer/internal/overview"
)

// TestFindingKey goes from the verdict to the device or the pair that it names, to the next one, and back.
func TestFindingKey(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 120, 40)
	s.shows("v verdict")
	s.press("v")
	s.shows("tunl0  overlay", "critical  qdisc-delay", "$ tc -s qdisc show dev tunl0", "v next finding")
	s.press("v")
	s.shows("tunl0  overlay")
	s.press("esc")
	s.shows("SOURCE →")

	o := story(t, "pair")
	o.Findings = []diagnose.Finding{
		{Cause: diagnose.NoAnswer, Severity: diagnose.Critical, Pairs: []diagnose.Pair{{Src: "shop/checkout", Dst: "shop/cart"}}},
		{Cause: diagnose.PolicyDrop, Severity: diagnose.Warning, Stage: journey.Forward, Device: "pod", Direction: journey.In,
			Pairs: []diagnose.Pair{{Src: "batch/nightly-report", Dst: "_external"}}},
	}
	s.send(overviewMsg{s.stream.query, o})
	s.press("v")
	if p := s.source.last().Pair; p == nil || p.SrcWorkload != "checkout" || p.DstWorkload != "cart" || p.Direction != journey.Local {
		t.Errorf("asked for %+v", p)
	}
	s.send(overviewMsg{s.stream.query, o})
	s.press("v")
	if p := s.source.last().Pair; p == nil || p.SrcNamespace != "batch" || p.DstWorkload != "_external" || p.DstNamespace != "" || p.Direction != journey.In {
		t.Errorf("asked for %+v", p)
	}
	none := *o
	none.Findings = nil
	s.send(overviewMsg{s.stream.query, &none})
	s.press("esc", "v")
	s.hides("v verdict")
}

// TestFindingsBelow fills what rows leave empty with findings: all of them before more of each.
func TestFindingsBelow(t *testing.T) {
	t.Parallel()
	for height, want := range map[int]struct{ shows, hides []string }{
		40: {[]string{"FINDINGS OF THE LAST 10 S", "qdisc-drop", "the qdisc itself counted", "$ tc -s class show dev tunl0"}, nil},
		24: {[]string{"qdisc-delay", "qdisc-drop", "$ tc -s qdisc show dev tunl0"}, []string{"the qdisc itself counted"}},
		16: {[]string{"qdisc-delay", "qdisc-drop"}, []string{"$ tc"}},
		14: {nil, []string{"FINDINGS"}},
	} {
		s := newScreen(t, 120, height)
		s.shows(want.shows...)
		s.hides(want.hides...)
	}
	o := story(t, "pair")
	o.Findings = append(o.Findings, o.Findings...)
	plain := newStyles(false)
	if lines := plain.findings(o, 120, 4); len(lines) != 4 || lines[3] != "2 more: v goes to each" {
		t.Errorf("%q", lines)
	}
}

// TestWatching says so until a window is long enough for a verdict; a fault is one at once.
func TestWatching(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 100, 20)
	young := story(t, "pair")
	young.VerdictWindowSeconds, young.Verdict, young.Summary, young.Findings = 2, diagnose.NoTraffic, "no traffic of pods was seen in 1 ms", nil
	s.send(overviewMsg{s.stream.query, young})
	s.shows("watching, 2 s")
	s.hides("NO TRAFFIC", "1 ms")
	fault := *young
	fault.Verdict = diagnose.Fault
	s.send(overviewMsg{s.stream.query, &fault})
	s.shows("FAULT")
	fault.VerdictWindowSeconds, fault.Verdict = 0, diagnose.Healthy // of an older agent
	s.send(overviewMsg{s.stream.query, &fault})
	s.shows("HEALTHY")
	warning := *story(t, "pair")
	warning.Verdict = diagnose.Healthy
	for i := range warning.Findings {
		warning.Findings[i].Severity = diagnose.Warning
	}
	s.send(overviewMsg{s.stream.query, &warning})
	s.shows("WARNING")
	s.hides("HEALTHY")
}

// TestWhatIsWrong shows who gets no answer, and nothing where nothing is bad.
func TestWhatIsWrong(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 80, 24)
	s.shows("!queue tunl0")
	s.hides("decap tunl0", "forward eth0")
	o := story(t, "detail")
	for _, r := range []*overview.Row{&o.Rows[2], &o.Detail.Row} {
		r.NoAnswer = &overview.NoAnswer{Destination: "10.244.2.3:8080", Protocol: "tcp", Packets: 749, Seconds: 14}
	}
	s.send(overviewMsg{s.stream.query, o})
	s.shows("!no answer 14s")
	s.press("enter")
	s.send(overviewMsg{s.stream.query, o})
	s.shows("no answer  from 10.244.2.3:8080 (tcp) for 14s, 749 packets sent; never answered")
}

// TestNamesAreWhole where columns of little importance can give way, and cuts them only where there is no room.
func TestNamesAreWhole(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 120, 20)
	o := story(t, "pair")
	long := &o.Rows[4]
	long.Src, long.Dst = overview.Party{Namespace: "monitoring", Workload: "prometheus-k8s-agent"}, overview.Party{Namespace: "kube-system", Workload: "metrics-server"}
	long.Worst = &overview.Place{Stage: journey.Queue, Device: "vxlan-v6.calico"}
	long.Stages[0].Place, long.Stages[0].Slow = *long.Worst, true
	s.send(overviewMsg{s.stream.query, o})
	s.shows("monitoring/prometheus-k8s-agent → kube-system/metrics-server", "!queue vxlan-v6.calico")
	s.send(tea.WindowSizeMsg{Width: 80, Height: 20})
	s.shows("… → metrics-server", "!queue vxlan-v6.calico")
	unknown := overview.Row{Src: long.Src, Dst: overview.Party{Namespace: "shop", Workload: "_unknown"}, Service: "shop/cart"}
	if name := rowName(&unknown, 60); name != "monitoring/prometheus-k8s-agent → (shop/cart)" {
		t.Errorf("%q", name)
	}
	endpoint := overview.Row{Src: long.Src, Dst: overview.Party{Namespace: "shop", Workload: "cart-v2"}, EndpointOf: "shop/cart"}
	if name := rowName(&endpoint, 90); name != "monitoring/prometheus-k8s-agent → (endpoint of shop/cart) → shop/cart-v2" {
		t.Errorf("%q", name)
	}
	if name := rowName(&endpoint, 60); name != "monitoring/prometheus-k8s-agent → shop/cart-v2" {
		t.Errorf("%q", name)
	}
}

// TestDevicePage tells the use of a limit, the workload behind a pod's device, and what the finding there says.
func TestDevicePage(t *testing.T) {
	t.Parallel()
	s := newScreen(t, 120, 40)
	o := story(t, "device")
	o.Findings = append(o.Findings, diagnose.Finding{
		Cause: diagnose.PolicyDrop, Severity: diagnose.Warning, Stage: journey.Forward, Device: "pod", Direction: journey.Out,
		Pairs: []diagnose.Pair{{Src: "shop/cart", Dst: "_external"}}, Evidence: []string{"a rule dropped them"}, Next: []string{"nft list ruleset"},
	})
	pod := &o.Devices[3]
	pod.Workload, pod.Causes = "shop/cart", []diagnose.Cause{diagnose.PolicyDrop}
	pod.Limits = []overview.Limit{{What: "tbf 1:", LimitBits: 8e5, Bits: 65e3, Share: 65. / 800}}
	s.press("4")
	s.send(overviewMsg{s.stream.query, o})
	if text := s.text(); !strings.Contains(text, "! "+pod.Name) || !strings.Contains(text, "shop/cart") {
		t.Errorf("%s is not marked:\n%s", pod.Name, text)
	}
	s.press("down", "down", "down", "enter")
	s.shows("shop/cart", "uses 8 % of its limit, 65kbit/s of 800kbit/s by tbf 1:", "a rule dropped them", "$ nft list ruleset")
}
