package agent

import (
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/diagnose"
	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/internal/netfilter"
	"tracer/internal/record"
)

// blamed is a rule that an agent's ruleset blames for what it counted, as the latest snapshot has it.
func blamed(a *Agent, inPod bool, table string) (record.Rule, []diagnose.LostFlow, string) {
	s, err := a.TakeSnapshot()
	if err != nil {
		return record.Rule{}, nil, err.Error()
	}
	for _, set := range s.Rulesets {
		for _, r := range set.Rules {
			if inPod == (set.Ifindex != 0) && r.Table == table && r.Packets > 0 {
				return r, set.Lost, ""
			}
		}
	}
	return record.Rule{}, nil, fmt.Sprintf("%+v", s.Rulesets)
}

// TestRules has rules of all makes drop what web sends to api: in the node's namespace and in the pod's. Each is found, with as
// many packets as it counts itself, and nobody reads rules once nothing is lost.
func TestRules(t *testing.T) {
	t.Parallel()
	c := newCluster(t, load.Config{Rate: 50, Size: 90})
	web, _ := c.lab.Pod(lab.Web)
	c.healthy(0, 3*time.Second)
	if sets := c.agents[0].rulesets(nil, 0); len(sets) > 0 {
		t.Errorf("rules were read without need: %+v", sets)
	}
	run := func(ns lab.Namespace, script string) string {
		t.Helper()
		var out []byte
		err := ns.Do(func() (err error) {
			out, err = exec.Command("bash", "-e", "-c", script).CombinedOutput()
			return err
		})
		if err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		return string(out)
	}
	node1, node2 := c.lab.Node(1).Netns, c.lab.Node(2).Netns
	api, _ := c.lab.Pod(lab.API)
	for _, test := range []struct {
		what         string
		agent        int
		netns        lab.Namespace
		add, remove  string
		count, match string
		want         string
		verdict      record.Verdict
	}{
		{
			what: "nft", agent: 0, netns: node1,
			add:    fmt.Sprintf("nft add table ip rules; nft add chain ip rules forward '{ type filter hook forward priority 0; }'; nft add rule ip rules forward ip saddr %v udp dport 7000-9999 counter drop comment 'stop'", web.Address),
			remove: "nft delete table ip rules",
			count:  "nft list table ip rules", match: `packets (\d+)`, want: `nft rule ip rules forward handle \d+ \(comment "stop"\)`, verdict: record.VerdictDrop,
		},
		{
			what: "iptables", agent: 1, netns: node2,
			add:    fmt.Sprintf("iptables -w -N deny; iptables -w -A FORWARD -d %v -j deny; iptables -w -A deny -m comment --comment 'no web' -j REJECT", api.Address),
			remove: "iptables -w -F FORWARD; iptables -w -F deny",
			count:  "iptables -w -nvxL deny", match: `(\d+) +\d+ +REJECT`, want: `rule 1 of chain deny \(iptables -t filter\) \(comment "no web"\)`, verdict: record.VerdictReject,
		},
		{
			what: "iptables-legacy", agent: 0, netns: node1,
			add:    fmt.Sprintf("iptables-legacy -w -I FORWARD -s %v -j DROP", web.Address),
			remove: "iptables-legacy -w -F FORWARD",
			count:  "iptables-legacy -w -nvxL FORWARD", match: `(\d+) +\d+ +DROP`, want: `rule 1 of chain FORWARD \(iptables-legacy -t filter\)`, verdict: record.VerdictDrop,
		},
		{
			what: "in the pod", agent: 1, netns: api.Netns,
			add:    fmt.Sprintf("iptables -w -A INPUT -s %v -p udp -j DROP", web.Address),
			remove: "iptables -w -F INPUT",
			count:  "iptables -w -nvxL INPUT", match: `(\d+) +\d+ +DROP`, want: `rule 1 of chain INPUT \(iptables -t filter\)`, verdict: record.VerdictDrop,
		},
		{
			what: "out of the pod", agent: 0, netns: web.Netns,
			add:    "nft add table inet own; nft add chain inet own output '{ type filter hook output priority 0; }'; nft add rule inet own output meta l4proto udp counter drop",
			remove: "nft delete table inet own",
			count:  "nft list table inet own", match: `packets (\d+)`, want: `nft rule inet own output handle \d+`, verdict: record.VerdictDrop,
		},
	} {
		if tool := strings.Fields(test.add)[0]; tool == "iptables-legacy" {
			if err := test.netns.Do(exec.Command(tool, "-nL").Run); err != nil {
				t.Logf("%s: not on this kernel: %v", test.what, err)
				continue
			}
		}
		run(test.netns, test.add)
		counted := func() uint64 {
			m := regexp.MustCompile(test.match).FindStringSubmatch(run(test.netns, test.count))
			if m == nil {
				t.Fatalf("%s: nothing is counted", test.what)
			}
			n, _ := strconv.ParseUint(m[1], 10, 64)
			return n
		}
		inPod := test.netns == api.Netns || test.netns == web.Netns
		table := regexp.MustCompile(`rules|own`).FindString(test.add)
		if table == "" {
			table = "filter"
		}
		var rule record.Rule
		c.eventually(20*time.Second, test.what, func() (bool, string) {
			r, lost, why := blamed(c.agents[test.agent], inPod, table)
			if why != "" {
				return false, why
			}
			n := uint64(0)
			for _, f := range lost {
				n += f.Packets
			}
			rule = r
			// Between the reading of the counter and that of the records some are lost, on a slow machine more.
			return r.Packets >= 20 && 10*n >= 7*r.Packets && 10*n <= 13*r.Packets+100 && r.Packets <= counted(), fmt.Sprintf("%v of %d, the flows lost %d: %+v", &r, r.Packets, n, lost)
		})
		if rule.Verdict != test.verdict || !regexp.MustCompile("^"+test.want+"$").MatchString(rule.String()) {
			t.Errorf("%s: %v %s", test.what, &rule, rule.Verdict)
		}
		run(test.netns, test.remove)
	}
}

func TestLostFlows(t *testing.T) {
	t.Parallel()
	l := netfilterLosses{of: map[int]*namespaceLosses{}, spent: map[int]readingCost{}}
	lost := func(port uint16, at time.Duration) record.Record {
		f := record.Flow{
			Source: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 1}), 40000+port), Destination: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, 2}), port), Protocol: unix.IPPROTO_TCP,
		}
		return record.Record{
			Kind: record.Dropped, Attributed: true, First: f, Last: f, Reason: "NETFILTER_DROP", Weight: 2, Time: at,
			Hops: [record.MaxHops]record.Hop{{Hook: record.Ingress, Ifindex: 4}}, Len: 1,
		}
	}
	batch := []record.Record{lost(80, time.Second), lost(80, time.Second), {Kind: record.Dropped, Attributed: true, Len: 1, Reason: "QDISC_DROP"}}
	for port := range uint16(200) {
		batch = append(batch, lost(1000+port, time.Second))
	}
	l.add(batch, func(int) bool { return false })
	n := l.of[0]
	if len(n.flows) != maxLostFlows {
		t.Errorf("%d flows", len(n.flows))
	}
	for key, f := range n.flows {
		if key.first.Destination.Port() == 80 && (f.packets != 4 || key.first.Source.Port() != 0) {
			t.Errorf("%+v: %d packets", key, f.packets)
		}
	}
	now := time.Now()
	if pods := l.due(now, 2*time.Second, false); len(pods) != 1 || pods[0] != 0 {
		t.Errorf("due: %v", pods)
	}
	l.spent[0] = readingCost{now, 20 * time.Millisecond}
	if pods := l.due(now.Add(9*time.Second), 11*time.Second, false); len(pods) != 0 {
		t.Error("20 ms each 9 s are more than a five-hundredth")
	}
	if pods := l.due(now.Add(9*time.Second), 11*time.Second, true); len(pods) != 1 {
		t.Error("who asks waits")
	}
	if pods := l.due(now.Add(40*time.Second), 41*time.Second, true); len(pods) != 0 || len(l.of) != 0 {
		t.Error("what is over is not forgotten")
	}
}

// TestFailedReadings compares no reading with one that failed, as if all had been counted in between.
func TestFailedReadings(t *testing.T) {
	t.Parallel()
	const pod = 4
	n := &namespaceLosses{}
	l := netfilterLosses{of: map[int]*namespaceLosses{pod: n}, spent: map[int]readingCost{}}
	good := &netfilter.Reading{Rules: []record.Rule{{Handle: 1, Counted: true, Packets: 1000}}}
	bad := &netfilter.Reading{Partial: true, Took: time.Second}
	failure := errors.New("not found")
	for i, test := range []struct {
		reading *netfilter.Reading
		err     error
		kept    int
	}{{bad, failure, 1}, {good, nil, 1}, {bad, failure, 1}, {good, nil, 2}} {
		l.keep(pod, test.reading, 0, test.err)
		if len(n.readings) != test.kept || (n.unread != nil) != (test.err != nil) {
			t.Errorf("after reading %d: %d kept, %v", i, len(n.readings), n.unread)
		}
		if test.err != nil && l.spent[pod].took != bad.Took {
			t.Error("a failed reading costs nothing")
		}
	}
}
