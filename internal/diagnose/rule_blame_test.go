package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// lostFlow is a flow of web's to an address and port of which so many packets were lost, at the pods' devices.
func lostFlow(to string, packets uint64) LostFlow {
	f := record.Flow{Source: netip.MustParseAddrPort("10.1.0.2:0"), Destination: netip.MustParseAddrPort(to), Protocol: record.ProtocolTCP}
	return LostFlow{
		Device: "pod", First: f, Last: f, Packets: packets,
		Source: aggregate.Identity{Namespace: "default", Workload: "web"}, Dest: aggregate.Identity{Namespace: "default", Workload: "api"},
	}
}

// wrappedFlow is one that was lost in its tunnel.
func wrappedFlow() LostFlow {
	f := lostFlow("10.2.0.3:80", 40)
	f.Wrapped = true
	return f
}

// counting is a rule that has counted so many packets.
func counting(handle, packets uint64, change ...func(*record.Rule)) record.Rule {
	r := record.Rule{
		Family: "ip", Table: "rules", Chain: "forward", Handle: handle, Number: 1, Hooks: record.HookForward, Verdict: record.VerdictDrop,
		Counted: true, Packets: packets,
	}
	for _, f := range change {
		f(&r)
	}
	return r
}

func to(prefix string) func(*record.Rule) {
	return func(r *record.Rule) { r.Match.Destination.Prefix = netip.MustParsePrefix(prefix) }
}

func uncounted(r *record.Rule) { r.Counted = false }

func port(n uint16) func(*record.Rule) {
	return func(r *record.Rule) { r.Match.Port = record.PortMatch{Low: n, High: n, Set: true} }
}

func at(hooks record.Hooks) func(*record.Rule) { return func(r *record.Rule) { r.Hooks = hooks } }

// TestBlame finds the rule that lost packets among others that count.
func TestBlame(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		about string
		lost  []LostFlow
		rules []record.Rule
		want  []uint64 // handles
	}{
		{"the one whose counter rose", []LostFlow{lostFlow("10.2.0.3:80", 40)}, []record.Rule{counting(1, 38)}, []uint64{1}},
		{"not one for other addresses", []LostFlow{lostFlow("10.2.0.3:80", 40)}, []record.Rule{counting(1, 40, to("10.3.0.0/16")), counting(2, 38)}, []uint64{2}},
		{"not one for other ports", []LostFlow{lostFlow("10.2.0.3:80", 40)}, []record.Rule{counting(1, 40, port(443)), counting(2, 38)}, []uint64{2}},
		{"not one at a hook that they do not pass", []LostFlow{lostFlow("10.2.0.3:80", 40)}, []record.Rule{counting(1, 40, at(record.HookInput)), counting(2, 38)}, []uint64{2}},
		{
			"the one that explains most, though another is more precise", []LostFlow{lostFlow("10.2.0.3:80", 120), lostFlow("10.2.0.3:22", 2)},
			[]record.Rule{counting(1, 2, port(22)), counting(2, 120)},
			[]uint64{2},
		},
		{
			"two that share", []LostFlow{lostFlow("10.2.0.3:80", 60), lostFlow("10.2.0.3:443", 50)},
			[]record.Rule{counting(1, 60, port(80)), counting(2, 50, port(443))},
			[]uint64{1, 2},
		},
		{
			"of those without a counter, who names them", []LostFlow{lostFlow("10.2.0.3:80", 40)},
			[]record.Rule{counting(1, 0, uncounted), counting(2, 0, uncounted, to("10.2.0.0/24")), counting(3, 0, uncounted, to("10.9.0.0/24"))},
			[]uint64{2},
		},
		{
			"a chain's policy, where nothing tells more", []LostFlow{lostFlow("10.2.0.3:80", 40)},
			[]record.Rule{counting(1, 40, to("10.3.0.0/16")), counting(0, 0, uncounted), counting(3, 0, uncounted, at(record.HookInput))},
			[]uint64{0},
		},
		{
			"none where many remain", []LostFlow{lostFlow("10.2.0.3:80", 40)},
			[]record.Rule{counting(1, 0, uncounted), counting(2, 0, uncounted), counting(3, 0, uncounted), counting(4, 0, uncounted)},
			nil,
		},
		{
			"counters before those without", []LostFlow{lostFlow("10.2.0.3:80", 40)},
			[]record.Rule{counting(1, 0, uncounted, to("10.2.0.0/24")), counting(2, 40)},
			[]uint64{2},
		},
		{
			"of a tunnel's packets, one at the hook of the node itself", []LostFlow{wrappedFlow()},
			[]record.Rule{counting(1, 40), counting(2, 40, at(record.HookInput), port(4789)), counting(3, 40, at(record.HookInput), func(r *record.Rule) { r.Match.Protocol = record.ProtocolTCP })},
			[]uint64{2},
		},
		{"none where none can be it", []LostFlow{lostFlow("10.2.0.3:80", 40)}, []record.Rule{counting(1, 40, to("10.3.0.0/16"))}, nil},
		{"one of NFQUEUE's only for what was lost there", []LostFlow{lostFlow("10.2.0.3:80", 40)}, []record.Rule{counting(1, 40, func(r *record.Rule) { r.Verdict = record.VerdictQueue })}, nil},
	} {
		now := time.Now()
		b := blame{set: &Ruleset{From: now.Add(-10 * time.Second), Until: now, Rules: test.rules}}
		for i := range test.lost {
			b.flows = append(b.flows, &test.lost[i])
		}
		b.choose()
		var got []uint64
		for _, r := range b.rules {
			got = append(got, r.Handle)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: rules %v, want %v", test.about, got, test.want)
		}
	}
	read := time.Now()
	once := blame{set: &Ruleset{From: read, Until: read, Rules: []record.Rule{counting(1, 40)}}, flows: []*LostFlow{new(lostFlow("10.2.0.3:80", 40))}}
	if once.choose(); len(once.rules) > 0 {
		t.Errorf("a counter that was read once has not risen: %v", once.rules)
	}
}

// TestVerdictMapBlamed names the rule whose map drops an address or port of what was lost, once; of a map of which no more is known it
// says that it may have been, unless another rule was.
func TestVerdictMapBlamed(t *testing.T) {
	t.Parallel()
	byMap := func(r *record.Rule) { r.VerdictMap, r.Counted = "__map0", false }
	state := func(r *record.Rule) { r.Match.State = "invalid" }
	for _, test := range []struct {
		about string
		rules []record.Rule
		want  string // in the evidence
	}{
		{"by the port", []record.Rule{counting(4, 0, byMap, port(22)), counting(4, 0, byMap, port(80)), counting(4, 0, byMap, to("10.2.0.0/24"))}, "nft rule ip rules forward handle 4, a verdict map, matches what was lost"},
		{"not for that port", []record.Rule{counting(4, 0, byMap, port(22))}, "no rule was found"},
		{"of anything", []record.Rule{counting(4, 0, byMap), counting(4, 0, byMap)}, "nft rule ip rules forward handle 4, a verdict map, drops some of what it is asked for, and may have dropped"},
		{"by state, as every firewall has it", []record.Rule{counting(4, 0, byMap, state)}, "no rule was found"},
		{"another's counter rose", []record.Rule{counting(4, 0, byMap), counting(5, 40)}, "nft rule ip rules forward handle 5 dropped 40 packets"},
	} {
		now := time.Now()
		b := blame{set: &Ruleset{From: now.Add(-10 * time.Second), Until: now, Rules: test.rules}, flows: []*LostFlow{new(lostFlow("10.2.0.3:80", 40))}}
		b.choose()
		if got := b.describe(); len(got) != 1 || !strings.HasPrefix(got[0], test.want) {
			t.Errorf("%s: %q, want %q", test.about, got, test.want)
		}
		if show := b.show(); len(show) != 1 && !strings.HasPrefix(test.want, "no ") || len(show) == 1 && show[0] != "nft -a list chain ip rules forward" {
			t.Errorf("%s: commands %q", test.about, show)
		}
	}
}

// findingOf is the first finding of a policy's drops, changed so.
func findingOf(t *testing.T, file string, change func(*Snapshot)) *Finding {
	t.Helper()
	e := load(t, "testdata/"+file).snapshots()
	change(&e.to)
	r := e.diagnose()
	if len(r.Findings) == 0 {
		t.Fatal("no finding")
	}
	return &r.Findings[0]
}

// TestRuleNamed has the rule in the sentence, its counter in the evidence, and its chain in the first command.
func TestRuleNamed(t *testing.T) {
	t.Parallel()
	until := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	flow := lostFlow("10.2.0.3:80", 30)
	flow.Dest = aggregate.Identity{Namespace: "default", Service: "api"}
	set := func(rules ...record.Rule) func(*Snapshot) {
		return func(s *Snapshot) {
			s.Rulesets = []Ruleset{{From: until.Add(-12 * time.Second), Until: until, Rules: rules, Lost: []LostFlow{flow}}}
		}
	}
	for _, test := range []struct {
		about                   string
		rule                    record.Rule
		subject, evidence, next string
		six                     bool
	}{
		{
			"nft", counting(7, 30, func(r *record.Rule) { r.Comment = "no web" }),
			"nft rule ip rules forward handle 7", `nft rule ip rules forward handle 7 (comment "no web") dropped 30 packets in the 12 s up to 12:00:00`, "nft -a list chain ip rules forward", false,
		},
		{
			"Calico in iptables", counting(7, 30, func(r *record.Rule) {
				r.Table, r.Chain, r.Number, r.Comment = "filter", "cali-tw-cali1", 4, "cali:x Drop if no policies passed packet"
			}),
			"rule 4 of chain cali-tw-cali1 (iptables -t filter)", "Calico made it", "iptables -t filter -nvL cali-tw-cali1 --line-numbers", false,
		},
		{
			"invalid", counting(7, 30, func(r *record.Rule) { r.Match.State = "invalid" }),
			"nft rule ip rules forward handle 7", "ct state invalid", "nft -a list chain ip rules forward", false,
		},
		{
			"a chain's policy", counting(0, 30, func(r *record.Rule) {
				r.Number, r.Family, r.Legacy, r.Table, r.Chain = 0, "ip6", true, "filter", "FORWARD"
			}),
			"the policy of chain ip6 filter FORWARD", "dropped 30 packets", "ip6tables-legacy -t filter -nvL FORWARD --line-numbers", true,
		},
	} {
		f := findingOf(t, "policy-service.json", func(s *Snapshot) {
			set(test.rule)(s)
			if test.six {
				s.Rulesets[0].Lost[0].Last.Source = netip.MustParseAddrPort("[fd00::2]:0")
			}
		})
		evidence, next := strings.Join(f.Evidence, "\n"), strings.Join(f.Next, "\n")
		if policies := strings.Contains(next, "kubectl get networkpolicies"); policies != (test.rule.Table == "filter" && test.rule.Handle != 0) {
			t.Errorf("%s: network policies are asked for: %t", test.about, policies)
		}
		if f.Cause != PolicyDrop || f.subject != test.subject || !strings.Contains(evidence, test.evidence) || f.Next[0] != test.next {
			t.Errorf("%s: %s %q\n%s\n%s", test.about, f.Cause, f.subject, evidence, next)
		}
	}
}

// TestServiceWithoutEndpoints tells kube-proxy's rules by their comments, and by the map of its nftables mode.
func TestServiceWithoutEndpoints(t *testing.T) {
	t.Parallel()
	now := time.Now()
	flow := lostFlow("10.96.0.20:80", 30)
	flow.Dest = aggregate.Identity{Namespace: "default", Service: "api"}
	for _, test := range []struct {
		rule    record.Rule
		cause   Cause
		subject string
	}{
		{counting(2, 30, func(r *record.Rule) { r.Comment, r.Verdict = "default/api:http has no endpoints", record.VerdictReject }), NoEndpoints, "service default/api:http, which has no ready endpoints,"},
		{counting(0, 0, uncounted, to("10.96.0.20/32"), func(r *record.Rule) {
			r.Table, r.Map, r.Comment, r.Verdict = "kube-proxy", "no-endpoint-services", "default/api", record.VerdictReject
		}), NoEndpoints, "service default/api, which has no ready endpoints,"},
		{counting(2, 30, func(r *record.Rule) { r.Comment = "default/api:http has no local endpoints" }), PolicyDrop, "service default/api:http, which has no endpoint on this node and policy Local,"},
		{counting(2, 30, func(r *record.Rule) { r.Comment = "no web" }), PolicyDrop, "nft rule ip rules forward handle 2"},
	} {
		f := findingOf(t, "policy-service.json", func(s *Snapshot) {
			s.Rulesets = []Ruleset{{From: now.Add(-12 * time.Second), Until: now, Rules: []record.Rule{test.rule}, Lost: []LostFlow{flow}}}
		})
		if f.Cause != test.cause || f.subject != test.subject {
			t.Errorf("%v: %s %q", &test.rule, f.Cause, f.subject)
		}
	}
}

// TestNFQueue tells who does not listen, and who listens too slowly.
func TestNFQueue(t *testing.T) {
	t.Parallel()
	now := time.Now()
	flow := lostFlow("10.2.0.3:80", 40)
	flow.Queue = true
	rule := counting(3, 40, func(r *record.Rule) { r.Verdict, r.Queue, r.Queues = record.VerdictQueue, 100, 1 })
	full := record.NFQueue{Number: 100, PortID: 4711, Waiting: 1024, Dropped: 77, Sequence: 2000}
	for _, test := range []struct {
		queues            []record.NFQueue
		location, subject string
		evidence          string
	}{
		{nil, "nf_queue", "NFQUEUE 100, where nobody listens,", "NFQUEUE 100: nobody listens"},
		{[]record.NFQueue{{Number: 7}}, "nf_queue", "NFQUEUE 100, where nobody listens,", "NFQUEUE 100: nobody listens"},
		{[]record.NFQueue{full}, "nf_queue", "NFQUEUE 100, which is full,", "1,024 packets wait, 77 dropped as the queue was full"},
		{[]record.NFQueue{{Number: 100, PortID: 4711}}, "nf_reinject", "the program that listens at NFQUEUE 100", "decided to drop them"},
	} {
		f := findingOf(t, "policy-nfqueue.json", func(s *Snapshot) {
			for i := range s.Counts.Drops {
				s.Counts.Drops[i].Location = test.location
			}
			for i := range s.Counts.Pairs {
				for j := range s.Counts.Pairs[i].Drops {
					s.Counts.Pairs[i].Drops[j].Location = test.location
				}
			}
			s.Rulesets = []Ruleset{{From: now.Add(-12 * time.Second), Until: now, Rules: []record.Rule{rule}, Lost: []LostFlow{flow}, Queues: test.queues}}
		})
		if f.Cause != PolicyDrop || f.Stage != journey.Forward || f.subject != test.subject || !strings.Contains(strings.Join(f.Evidence, "\n"), test.evidence) || f.Next[0] != "cat /proc/net/netfilter/nfnetlink_queue" {
			t.Errorf("%s of %+v: %s %q\n%q\n%q", test.location, test.queues, f.Cause, f.subject, f.Evidence, f.Next)
		}
	}
}

// TestSlowQueue names the queue to user space that slow packets went through.
func TestSlowQueue(t *testing.T) {
	t.Parallel()
	s := load(t, "testdata/forward-delay.json")
	s.Pairs[0].Stages[0].Delay = 0.02
	e := s.snapshots()
	e.to.Stats.Queues = []record.NFQueue{{Number: 7, PortID: 4711, Sequence: 1e6}, {Number: 8, PortID: 1, Sequence: 5}}
	e.from.Stats.Queues = []record.NFQueue{{Number: 8, PortID: 1, Sequence: 4}}
	f := e.diagnose().Findings[0]
	if f.Cause != ForwardDelay || !strings.HasSuffix(f.subject, "by way of user space (NFQUEUE 7)") || f.Next[0] != "cat /proc/net/netfilter/nfnetlink_queue" {
		t.Errorf("%s %q %q", f.Cause, f.subject, f.Next)
	}
	// Who decides there needs a CPU, unlike a softirq.
	e.from.Stats.CPUs, e.to.Stats.CPUs = make([]record.CPUTime, 2), []record.CPUTime{{All: 1500}, {All: 1500}}
	if busy := e.diagnose().Findings[0]; f.Severity != Critical || busy.Severity != Warning {
		t.Errorf("%s, and where all CPUs are busy %s: %q", f.Severity, busy.Severity, busy.Evidence)
	}
}
