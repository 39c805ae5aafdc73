package diagnose

import (
	"net/netip"
	"slices"
	"testing"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// twoNodes is a window of web on this node that calls api on node-2, and of job on that node that calls web.
func twoNodes() *window {
	out := seenPair("default/web", "default/api", journey.Out, 100, "10.1.0.1:41000", "10.2.0.1:80")
	out.Ends.Src.Pod, out.Ends.Dst.Pod, out.Ends.Dst.NodeAddress = "web-0", "api-0", netip.MustParseAddr("192.168.0.2")
	in := seenPair("default/job", "default/web", journey.In, 100, "10.2.0.9:52000", "10.1.0.1:8080")
	in.Ends.Src.Pod, in.Ends.Dst.Pod = "job-0", "web-0"
	lost := *out.Ends
	lost.Destination = netip.MustParseAddrPort("10.2.0.7:9000")
	out.Dropped = &lost
	return newWindow("node-1", Snapshot{}, Snapshot{
		Counts:  &aggregate.Snapshot{Pairs: []aggregate.Pair{out, in}},
		Devices: []netdev.Device{{Index: 2, Name: "ens5", Role: netdev.RoleUplink, Leaves: true}, {Index: 4, Name: "cali1", Role: netdev.RolePod}},
	})
}

// TestConcrete fills in what is known: of the packet that was lost where one was, of a flow of the pair otherwise.
func TestConcrete(t *testing.T) {
	t.Parallel()
	w := twoNodes()
	const inWeb = "ip netns exec $(ip link show cali1 | sed -n 's/.*link-netns //p') "
	there, here := []Pair{{Src: "default/web", Dst: "default/api"}}, []Pair{{Src: "default/job", Dst: "default/web"}}
	for _, test := range []struct {
		name string
		f    Finding
		next []string
		want []string
	}{
		{"lost in forwarding", Finding{Kind: KindDrop, Stage: journey.Forward, Device: "pod", Direction: journey.Out, Pairs: there},
			[]string{"ip route get DESTINATION from SOURCE iif DEVICE", "ss -ltn sport = :PORT", "ip -s link show dev UPLINK"},
			[]string{"ip route get 10.2.0.7 from 10.1.0.1 iif cali1", "ss -ltn sport = :9000", "ip -s link show dev ens5"}},
		{"beyond", Finding{Kind: KindRetransmit, Pairs: there},
			[]string{"tracer diagnose # on the node of PEER", "mtr -n OTHER-NODE", "ss -tiH dst DESTINATION | grep -o rtt # in the pod: of its sockets"},
			[]string{"tracer diagnose # on node-2 (192.168.0.2), where default/api runs", "mtr -n 192.168.0.2",
				inWeb + "ss -tiH dst 10.2.0.1 | grep -o rtt # in pod default/web-0: of its sockets"}},
		{"in the pod that receives, here", Finding{Kind: KindDelay, Stage: journey.Deliver, Device: "pod", Direction: journey.In, Pairs: here},
			[]string{"ss -tmi # in the pod", "ip -s link show dev DEVICE", "kubectl get svc -n NAMESPACE"},
			[]string{inWeb + "ss -tmi # in pod default/web-0", "ip -s link show dev cali1", "kubectl get svc -n default"}},
		{"in the pod that receives, elsewhere", Finding{Kind: KindDelay, Stage: journey.Deliver, Device: "pod", Direction: journey.Out, Pairs: there},
			[]string{"ss -tmi # in the pod"}, []string{"ss -tmi # in pod default/api-0 on node-2 (192.168.0.2)"}},
		{"a device", Finding{Kind: KindDelay, Stage: journey.Queue, Device: "tunl0", Direction: journey.Out, Pairs: there},
			[]string{"tc -s qdisc show dev DEVICE", "tc -s qdisc show dev DEVICE"}, []string{"tc -s qdisc show dev tunl0"}},
		{"nothing known", Finding{Kind: KindDrop, Stage: journey.Forward, Device: "pod", Pairs: []Pair{{Src: "_external", Dst: "default/gone"}}},
			[]string{"ip route get DESTINATION", "ss -ltn # in the pod", "tracer diagnose # on the node of PEER"},
			[]string{"ip route get DESTINATION", "ss -ltn # in the pod", "tracer diagnose # on the node of default/gone"}},
		{"the world", Finding{Kind: KindDrop, Pairs: []Pair{{Src: "default/web", Dst: "_external"}}},
			[]string{"tracer diagnose # on the node of PEER", "ip route get DESTINATION"}, []string{"ip route get DESTINATION"}},
		{"nobody's", Finding{Kind: KindMisconfiguration, Device: "eth0"}, []string{"tc qdisc show dev DEVICE"}, []string{"tc qdisc show dev eth0"}},
	} {
		test.f.Next = test.next
		if w.concrete(&test.f); !slices.Equal(test.f.Next, test.want) {
			t.Errorf("%s:\n got %q\nwant %q", test.name, test.f.Next, test.want)
		}
	}
}

// TestShellWord: a pod names its own device, and a name must not become a command.
func TestShellWord(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]string{"eth0": "eth0", "eth0.100@if3": "eth0.100@if3", "fd00::1": "fd00::1", "$(reboot)": "'$(reboot)'", "a'b;c": `'a'\''b;c'`, "": "''"} {
		if got := shellWord(word); got != want {
			t.Errorf("%q becomes %s, want %s", word, got, want)
		}
	}
	f := Finding{Kind: KindDelay, Stage: journey.Queue, Device: "$(reboot)", Next: []string{"tc qdisc show dev DEVICE"}}
	if twoNodes().concrete(&f); f.Next[0] != "tc qdisc show dev '$(reboot)'" {
		t.Errorf("%q", f.Next)
	}
}

// TestNoPlaceholders has no word in capitals in the commands of any cause where all is known.
func TestNoPlaceholders(t *testing.T) {
	t.Parallel()
	w := twoNodes()
	for _, c := range Causes() {
		for _, f := range []Finding{
			{Kind: KindDrop, Stage: journey.Forward, Device: netdev.PodLabel, Direction: journey.Out, Pairs: []Pair{{Src: "default/web", Dst: "default/api"}}},
			{Kind: KindDrop, Stage: journey.Deliver, Device: netdev.PodLabel, Direction: journey.In, Pairs: []Pair{{Src: "default/job", Dst: "default/web"}}},
			{Kind: KindDelay, Stage: journey.Queue, Device: "ens5", Direction: journey.Out, Pairs: []Pair{{Src: "default/web", Dst: "default/api"}}},
		} {
			f.Next = next(c.Cause)
			w.concrete(&f)
			for _, command := range f.Next {
				if placeholder.MatchString(command) || command == inThePod {
					t.Errorf("%s at %s: %s", c.Cause, f.Device, command)
				}
			}
		}
	}
}

// TestJoinSame makes one finding of two that have one cause and one next step.
func TestJoinSame(t *testing.T) {
	t.Parallel()
	at := func(cause Cause, stage journey.Stage, severity Severity, packets uint64, next ...string) Finding {
		return Finding{
			Cause: cause, Kind: KindDrop, Severity: severity, Stage: stage, Device: "tunl0", Drops: &Drops{Packets: packets}, Next: next, pain: float64(packets),
			Evidence: []string{string(stage)}, Pairs: []Pair{{Src: "a", Dst: string(stage)}}, PairsTotal: 1, predicate: "loses some",
		}
	}
	first := at(Neighbour, journey.Forward, Critical, 5, "ip neigh")
	got := joinSame([]Finding{first, at(NoRoute, journey.Forward, Critical, 3, "ip route"), at(Neighbour, journey.Encap, Warning, 4, "ip neigh"), at(NoRoute, journey.Encap, Critical, 2, "ip -6 route")})
	if len(got) != 3 || got[0].Drops.Packets != 9 || got[0].pain != 9 || len(got[0].Pairs) != 2 || got[0].PairsTotal != 2 || got[0].Severity != Critical ||
		!slices.Contains(got[0].Evidence, "the same at another place (encap at tunl0, warning): loses some") {
		t.Errorf("%+v", got)
	}
	if first.Drops.Packets != 5 {
		t.Errorf("what was given changed: %+v", first)
	}
	if got := joinSame(nil); got == nil {
		t.Error("no findings are null")
	}
}

// TestRuleCommand shows a rule of a chain whose name is a command by no command.
func TestRuleCommand(t *testing.T) {
	t.Parallel()
	r := record.Rule{Legacy: true, Family: "ip", Table: "filter", Chain: "$(reboot)"}
	if got := shellCommand(r.Show()); got != "iptables-legacy -t filter -nvL '$(reboot)' --line-numbers" {
		t.Error(got)
	}
	if namespace, name := cutService("shop/$(reboot):http"); namespace != "shop" || name != "'$(reboot)'" {
		t.Error(namespace, name)
	}
}
