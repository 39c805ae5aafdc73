package diagnose

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// forService is a conversation with a Service's address, which left by eth0 as it was.
func forService(u *aggregate.Unanswered) {
	u.PairKey, u.Service, u.ToService = key("default/web", "default/_unknown", journey.Out), "default/api", true
	u.Destination, u.Asked, u.Node, u.Wrapped, u.LeftBy = netip.MustParseAddrPort("10.96.0.20:80"), netip.MustParseAddrPort("10.96.0.20:80"), "", false, "eth0"
}

// forWorld is one with a public address, which left with the pod's own.
func forWorld(u *aggregate.Unanswered) {
	outside(u)
	u.Translated, u.Tries, u.LeftBy = false, 12, "eth0"
}

// TestNotTranslated says of which packets that left untranslated there is an alarm, a warning, or nothing.
func TestNotTranslated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		change func(*aggregate.Unanswered)
		more   []aggregate.Unanswered
		want   Severity
		cause  Cause // by itself not-translated
	}{
		{name: "a SYN to a Service, and its retransmissions", change: forService, want: Critical},
		{name: "datagrams to a Service that nobody would answer", want: Critical, change: func(u *aggregate.Unanswered) { datagrams("8125")(u); u.Answers = 0; forService(u) }},
		{name: "the node's own packets to a Service", want: Critical, change: func(u *aggregate.Unanswered) {
			forService(u)
			u.PairKey, u.Ifindex = key("_node", "default/_unknown", journey.Out), 0
		}},
		{name: "many Services", want: Critical, change: func(u *aggregate.Unanswered) { forService(u); u.Elsewhere = 9 }},
		{name: "connections to the world", change: forWorld, want: Critical},
		{name: "connections to the world, of a pod in the shared address space", want: Critical,
			change: func(u *aggregate.Unanswered) { forWorld(u); u.Source = netip.MustParseAddrPort("100.64.1.4:0") }},
		{name: "pings of the world", want: Critical, change: func(u *aggregate.Unanswered) { pings(u); forWorld(u); u.Tries = 12 }},
		{name: "queries to the world", want: Critical, change: func(u *aggregate.Unanswered) { datagrams("53")(u); forWorld(u); u.Query, u.Answers = true, 0 }},
		{name: "two addresses of the world, each tried little", want: Critical, change: func(u *aggregate.Unanswered) { forWorld(u); u.Tries = 4 },
			more: []aggregate.Unanswered{silenceTo(func(u *aggregate.Unanswered) {
				forWorld(u)
				u.Destination, u.Tries = netip.MustParseAddrPort("192.0.2.7:443"), 4
			})}},
		{name: "one address of the world, tried little", want: Warning, change: func(u *aggregate.Unanswered) { forWorld(u); u.Tries = 4 }},

		{name: "a router beyond translates: one of the world does not answer", want: Critical, cause: NoAnswer,
			change: func(u *aggregate.Unanswered) { forWorld(u); u.OutsideAnswered = true }},
		{name: "a peer's network, routed", want: Critical, cause: NoAnswer,
			change: func(u *aggregate.Unanswered) { forWorld(u); u.Destination = netip.MustParseAddrPort("10.250.0.9:443") }},
		{name: "a pod with a public address", want: Critical, cause: NoAnswer,
			change: func(u *aggregate.Unanswered) { forWorld(u); u.Source = netip.MustParseAddrPort("198.51.100.4:0") }},
		{name: "reports to the world", change: func(u *aggregate.Unanswered) { datagrams("514")(u); forWorld(u); u.Answers = 0 }},
		{name: "a ping of a Service", want: Warning, cause: NoAnswer, change: func(u *aggregate.Unanswered) { pings(u); forService(u); u.PairAnswered = true }},
		{name: "a Service whose backend answers nothing", want: Critical, cause: NoAnswer, change: func(u *aggregate.Unanswered) { u.Service = "default/api" }},
		{name: "a Service that a router does not know", want: Critical, change: func(u *aggregate.Unanswered) { forService(u); u.Refused = true }},
		{name: "one connection that blocks", want: Critical, change: func(u *aggregate.Unanswered) {
			forService(u)
			u.Tries, u.Seconds, u.Retransmits, u.First, u.Last = 2, 2, 2, 10, 2
		}},
		{name: "one connection that has just begun", change: func(u *aggregate.Unanswered) {
			forService(u)
			u.Tries, u.Seconds, u.Retransmits, u.First, u.Last = 2, 2, 1, 1.2, 0.2
		}},
		{name: "the world, refused", change: func(u *aggregate.Unanswered) { forWorld(u); u.Refused = true }},
		{name: "a Service, lost on this node", change: func(u *aggregate.Unanswered) { forService(u); u.Dropped = 4 }},
		{name: "a Service, tried for a moment", change: func(u *aggregate.Unanswered) { forService(u); u.First, u.Last, u.Seconds = 2, 0.5, 2 }},
	} {
		devices := []netdev.Device{{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Up: true},
			{Index: 4, Name: "cali1", Role: netdev.RolePod, Up: true, Traffic: netdev.Traffic{RxPackets: 1000, TxPackets: 900}}}
		counts := &aggregate.Snapshot{Unanswered: append([]aggregate.Unanswered{silenceTo(test.change)}, test.more...), Records: 100}
		e := &snapshots{from: Snapshot{Taken: noon, Devices: devices}, to: Snapshot{Taken: noon.Add(15 * time.Second), Devices: devices, Counts: counts}}
		r := e.diagnose()
		if test.cause == "" {
			test.cause = NotTranslated
		}
		switch {
		case test.want == "" && len(r.Findings) == 0:
		case len(r.Findings) != 1 || r.Findings[0].Cause != test.cause || r.Findings[0].Severity != test.want:
			t.Errorf("%s: %+v, want %q", test.name, r.Findings, test.want)
		case test.cause == NotTranslated && (r.Findings[0].Device != "eth0" || r.Findings[0].Confidence <= 0 || len(r.Findings[0].Next) == 0):
			t.Errorf("%s: incomplete: %+v", test.name, r.Findings[0])
		}
	}
}

// TestNotTranslatedSays what left, by which device, and what of other Services.
func TestNotTranslatedSays(t *testing.T) {
	t.Parallel()
	say := func(translated string) Report {
		u := silenceTo(forService)
		counts := &aggregate.Snapshot{Taken: noon.Add(15 * time.Second), Unanswered: []aggregate.Unanswered{u}}
		if translated != "" {
			counts.Pairs = []aggregate.Pair{{PairKey: key("default/web", "default/shop", journey.Out), Service: translated, Packets: 40}}
		}
		devices := []netdev.Device{{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Up: true}}
		e := &snapshots{from: Snapshot{Taken: noon, Devices: devices}, to: Snapshot{Taken: noon.Add(15 * time.Second), Devices: devices, Counts: counts}}
		return e.diagnose()
	}
	r := say("")
	if want := "no rule on node-1 translates 10.96.0.20:80, the address of service default/api: 4 packets of default/web left by eth0 untranslated"; r.Summary != want {
		t.Errorf("summary %q, want %q", r.Summary, want)
	}
	for translated, want := range map[string]string{
		"":             "no packet to any service was translated meanwhile",
		"default/api":  "meanwhile 40 packets to the same service were translated",
		"default/shop": "meanwhile 40 packets to other services were translated",
	} {
		if said := strings.Join(say(translated).Findings[0].Evidence, "\n"); !strings.Contains(said, want) {
			t.Errorf("evidence %q, want %q", said, want)
		}
	}
	if next := strings.Join(r.Findings[0].Next, "\n"); !strings.Contains(next, "10.96.0.20") || strings.Contains(next, "DESTINATION") {
		t.Errorf("next %q", next)
	}
}

// TestNotTranslatedIsNoLoss leaves what TCP sent again meanwhile out of remote-loss.
func TestNotTranslatedIsNoLoss(t *testing.T) {
	t.Parallel()
	u := silenceTo(forService)
	counts := &aggregate.Snapshot{
		Unanswered: []aggregate.Unanswered{u},
		Pairs:      []aggregate.Pair{{PairKey: u.PairKey, Packets: 34, TCP: &aggregate.TCP{Segments: 4, Retransmits: 30}}},
	}
	e := &snapshots{from: Snapshot{Taken: noon}, to: Snapshot{Taken: noon.Add(15 * time.Second), Counts: counts}}
	if r := e.diagnose(); len(r.Findings) != 1 || r.Findings[0].Cause != NotTranslated {
		t.Errorf("%+v", r.Findings)
	}
}

// TestAnswersNotTranslated tells of answers that a bridge passed by netfilter, unless they are few.
func TestAnswersNotTranslated(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		packets, seconds uint64
		want             Severity
	}{{59, 15, Critical}, {5, 5, Critical}, {4, 4, Warning}, {2, 2, ""}, {40, 1, ""}} {
		counts := &aggregate.Snapshot{Pairs: []aggregate.Pair{{
			PairKey: key("default/api", "default/web", journey.Local), Packets: 60,
			BareAnswers: aggregate.BareAnswers{
				Packets: test.packets, Seconds: test.seconds, Asked: netip.MustParseAddrPort("10.96.0.20:80"), Server: netip.MustParseAddrPort("10.1.0.2:8080"),
			},
		}}}
		e := &snapshots{from: Snapshot{Taken: noon}, to: Snapshot{Taken: noon.Add(15 * time.Second), Counts: counts}}
		r := e.diagnose()
		switch {
		case test.want == "" && len(r.Findings) == 0:
		case len(r.Findings) != 1 || r.Findings[0].Cause != NotTranslated || r.Findings[0].Severity != test.want:
			t.Errorf("%+v: %+v", test, r.Findings)
		case !strings.Contains(r.Summary, "come to default/web from 10.1.0.2:8080, and not from 10.96.0.20:80 that it asked"):
			t.Errorf("summary %q", r.Summary)
		}
	}
}
