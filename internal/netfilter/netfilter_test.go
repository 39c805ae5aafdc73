package netfilter

import (
	"fmt"
	"net/netip"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// inNewNamespace moves the test into a network namespace of its own, and returns what runs a script in it.
func inNewNamespace(t *testing.T) (ns netns.NsHandle, run func(script string) string) {
	t.Helper()
	runtime.LockOSThread() // the thread ends with the test
	ns, err := netns.New()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ns.Close() })
	return ns, func(script string) string {
		t.Helper()
		out, err := exec.Command("bash", "-e", "-c", script).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v: %s", script, err, out)
		}
		return string(out)
	}
}

// read reads, and says what was found as lines that people can compare.
func read(t *testing.T, ns netns.NsHandle) (lines []string, rules []record.Rule) {
	t.Helper()
	r, err := Read(ns)
	if err != nil {
		t.Fatal(err)
	}
	for i := range r.Rules {
		rule := &r.Rules[i]
		m := &rule.Match
		line := fmt.Sprintf("%s: %s, hooks %d", handle.ReplaceAllString(rule.String(), "handle N"), rule.Verdict, rule.Hooks)
		if rule.Verdict == record.VerdictQueue {
			line += fmt.Sprintf(" %d+%d bypass %t", rule.Queue, rule.Queues, rule.Bypass)
		}
		for _, a := range []record.AddressMatch{m.Source, m.Destination} {
			if a.Prefix.IsValid() {
				line += fmt.Sprintf(" %v/not %t", a.Prefix, a.Not)
			}
		}
		for _, p := range []record.PortMatch{m.SourcePort, m.Port} {
			if p.Set {
				line += fmt.Sprintf(" port %d-%d/not %t", p.Low, p.High, p.Not)
			}
		}
		if m.Protocol != 0 {
			line += fmt.Sprintf(" protocol %v", m.Protocol)
		}
		if m.State != "" {
			line += " ct state " + m.State
		}
		if rule.Counted {
			line += fmt.Sprintf(" counted %d", rule.Packets)
		}
		lines = append(lines, line)
	}
	return lines, r.Rules
}

// dropCapability takes a capability from the calling thread, which ends with the test: the hardened agent has not got it.
func dropCapability(t *testing.T, capability int) {
	t.Helper()
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
	data[0].Effective &^= 1 << capability
	if err := unix.Capset(&header, &data[0]); err != nil {
		t.Fatal(err)
	}
}

// handle is what differs from kernel to kernel.
var handle = regexp.MustCompile(`handle \d+`)

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

// ping sends three packets to an address of the namespace's own.
func ping(run func(string) string, address string) string {
	return run("ip link set lo up; ip addr replace " + address + "/32 dev lo; ping -qc 3 -i 0.01 -W 0.01 " + address + " || true")
}

func TestNftables(t *testing.T) {
	ns, run := inNewNamespace(t)
	run(`nft -f - <<'EOF'
table inet firewall {
	chain input {
		type filter hook input priority 0; policy drop;
		tcp dport 22 counter accept
		ip saddr 10.1.0.0/16 tcp dport 80-443 counter drop comment "no web"
		ip daddr 192.0.2.7 icmp type echo-request counter jump deny
		ct state invalid counter drop
		ip daddr 192.0.2.7 accept
	}
	chain forward {
		type filter hook forward priority 0; policy accept;
		ip6 daddr 2001:db8::1 udp sport != 53 reject
		ip daddr != 198.51.100.0/25 jump deny
	}
	chain deny {
		counter reject with icmpx type admin-prohibited
	}
}
table ip edge {
	chain nat {
		type nat hook prerouting priority -100;
		tcp dport 8080 redirect to :80
		jump of-nat
	}
	chain of-nat {
		ip daddr 10.9.9.9 drop
	}
	chain filter {
		type filter hook prerouting priority -150;
		jump early
	}
	chain early {
		tcp dport 23 drop
	}
}
table ip unused {
	chain never {
		drop
	}
}
EOF`)
	ping(run, "192.0.2.7")
	lines, rules := read(t, ns)
	for _, r := range rules {
		if listing := run(strings.Replace(strings.Join(r.Show(), " "), "-a", "-na", 1)); r.Handle != 0 && !regexp.MustCompile(fmt.Sprintf(`%s.*# handle %d\n`, r.Verdict, r.Handle)).MatchString(listing) {
			t.Errorf("handle %d of %v is not in %s", r.Handle, &r, listing)
		}
	}
	slices.Sort(lines)
	want(t, lines,
		`nft rule inet firewall deny handle N: reject, hooks 6 counted 3`,
		`nft rule inet firewall forward handle N: reject, hooks 4 2001:db8::1/128/not false port 53-53/not true protocol udp`,
		`nft rule inet firewall input handle N (comment "no web"): drop, hooks 2 10.1.0.0/16/not false port 80-443/not false protocol tcp counted 0`,
		`nft rule inet firewall input handle N: drop, hooks 2 ct state invalid counted 0`,
		`nft rule ip edge early handle N: drop, hooks 1 port 23-23/not false protocol tcp`,
		`the policy of chain inet firewall input: drop, hooks 2`,
	)
}

// TestKubeProxy reads the map in which kube-proxy has the Services without endpoints, in its nftables mode.
func TestKubeProxy(t *testing.T) {
	ns, run := inNewNamespace(t)
	run(`nft -f - <<'EOF'
table ip kube-proxy {
	map no-endpoint-services {
		type ipv4_addr . inet_proto . inet_service : verdict
		elements = { 10.96.3.9 . tcp . 80 comment "shop/pay:http" : goto reject-chain, 10.96.3.10 . udp . 53 comment "shop/dns" : drop }
	}
	map no-endpoint-nodeports {
		type inet_proto . inet_service : verdict
		elements = { tcp . 30080 comment "shop/web" : drop }
	}
	chain reject-chain {
		reject
	}
	chain service-endpoints-check {
		ip daddr . meta l4proto . th dport vmap @no-endpoint-services
	}
	chain nodeport-endpoints-check {
		meta l4proto . th dport vmap @no-endpoint-nodeports
	}
	chain filter-forward {
		type filter hook forward priority -110; policy accept;
		ct state new jump service-endpoints-check
	}
	chain filter-input {
		type filter hook input priority -110; policy accept;
		ct state new jump service-endpoints-check
		ct state new jump nodeport-endpoints-check
	}
}
EOF`)
	lines, rules := read(t, ns)
	slices.Sort(lines)
	want(t, lines,
		`an element of nft map ip kube-proxy no-endpoint-nodeports (comment "shop/web"): drop, hooks 2 port 30080-30080/not false protocol tcp`,
		`an element of nft map ip kube-proxy no-endpoint-services (comment "shop/dns"): drop, hooks 6 10.96.3.10/32/not false port 53-53/not false protocol udp`,
		`an element of nft map ip kube-proxy no-endpoint-services (comment "shop/pay:http"): reject, hooks 6 10.96.3.9/32/not false port 80-80/not false protocol tcp`,
		`nft rule ip kube-proxy reject-chain handle N: reject, hooks 255`,
	)
	if show := strings.Join(rules[len(rules)-1].Show(), " "); !strings.HasPrefix(show, "nft list map ip kube-proxy no-endpoint-") {
		t.Error(show)
	}
}

// TestIptables reads the same rules as iptables makes them in nftables, and by the old interface.
func TestIptables(t *testing.T) {
	for _, tool := range []string{"iptables", "iptables-legacy"} {
		t.Run(tool, func(t *testing.T) {
			ns, run := inNewNamespace(t)
			if out, err := exec.Command(tool, "-L").CombinedOutput(); err != nil {
				t.Logf("not on this kernel: %v: %s", err, out)
				return
			}
			ip6 := strings.Replace(tool, "ip", "ip6", 1)
			run(strings.NewReplacer("ip4", tool+" -w", "ip6", ip6+" -w").Replace(`
ip4 -N KUBE-SERVICES
ip4 -A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
ip4 -A KUBE-SERVICES -j RETURN -p udp
ip4 -A KUBE-SERVICES -m comment --comment "shop/cart:http has no endpoints" -p tcp -d 10.96.7.7 --dport 8080 -j REJECT
ip4 -A INPUT -d 192.0.2.7 -p icmp -j DROP
ip4 -A INPUT -s 10.0.0.0/8 ! -d 10.1.1.1 -m state --state INVALID,NEW -j DROP
ip4 -A OUTPUT -d 192.0.2.8 -j NFQUEUE --queue-balance 4:7 --queue-bypass
ip4 -A OUTPUT -d 192.0.2.9 -j NFQUEUE --queue-num 100
ip4 -P FORWARD DROP
ip6 -A INPUT -s 2001:db8::/32 -p udp --sport 53 -j DROP
`))
			ping(run, "192.0.2.7")
			dropCapability(t, unix.CAP_NET_RAW)
			lines, rules := read(t, ns)
			name, six := "iptables", "ip6tables"
			if tool == "iptables-legacy" {
				name, six = "iptables-legacy", "ip6tables-legacy"
			}
			all := []string{
				`rule 1 of chain INPUT (` + name + ` -t filter): drop, hooks 2 192.0.2.7/32/not false protocol icmp counted 3`,
				`rule 2 of chain INPUT (` + name + ` -t filter): drop, hooks 2 10.0.0.0/8/not false 10.1.1.1/32/not true ct state invalid,new counted 0`,
				`rule 1 of chain OUTPUT (` + name + ` -t filter): queue, hooks 8 4+4 bypass true 192.0.2.8/32/not false counted 0`,
				`rule 2 of chain OUTPUT (` + name + ` -t filter): queue, hooks 8 100+1 bypass false 192.0.2.9/32/not false counted 0`,
				`rule 2 of chain KUBE-SERVICES (` + name + ` -t filter) (comment "shop/cart:http has no endpoints"): reject, hooks 4 10.96.7.7/32/not false port 8080-8080/not false protocol tcp counted 0`,
				`the policy of chain ip filter FORWARD: drop, hooks 4 counted 0`,
				`rule 1 of chain INPUT (` + six + ` -t filter): drop, hooks 2 2001:db8::/32/not false port 53-53/not false protocol udp counted 0`,
			}
			slices.Sort(all)
			slices.Sort(lines)
			want(t, lines, all...)
			if show := strings.Join(rules[0].Show(), " "); !strings.HasPrefix(show, name+" -t filter -nvL ") {
				t.Error(show)
			}
		})
	}
}

// TestMovedRule knows a rule of the old iptables again where another was inserted in front of it.
func TestMovedRule(t *testing.T) {
	t.Parallel()
	rule := func(number int, state string, packets uint64) record.Rule {
		return record.Rule{Legacy: true, Family: "ip", Table: "filter", Chain: "INPUT", Number: number, Match: record.RuleMatch{State: state}, Counted: true, Packets: packets}
	}
	now := Reading{Rules: []record.Rule{rule(1, "new", 2), rule(2, "invalid", 103)}}
	rose := now.Since(&Reading{Rules: []record.Rule{rule(1, "invalid", 100)}})
	if rose[0].Packets != 2 || rose[1].Packets != 3 {
		t.Errorf("%+v", rose)
	}
}

func TestSince(t *testing.T) {
	rule := func(handle, packets uint64) record.Rule {
		return record.Rule{Family: "ip", Table: "filter", Chain: "FORWARD", Handle: handle, Counted: true, Packets: packets}
	}
	before := Reading{Rules: []record.Rule{rule(1, 10), rule(2, 50)}}
	now := Reading{Rules: []record.Rule{rule(1, 13), rule(2, 4), rule(3, 7)}}
	var rose []uint64
	for _, r := range now.Since(&before) {
		rose = append(rose, r.Packets)
	}
	if !slices.Equal(rose, []uint64{3, 4, 7}) {
		t.Error(rose)
	}
	before.Partial = true
	if rose := now.Since(&before); rose[2].Packets != 0 {
		t.Errorf("what may not have been read is not new: %+v", rose[2])
	}
}

// BenchmarkRead reads what kube-proxy makes of 5,000 Services, in iptables: some 20,000 rules, of which 100 can lose packets.
func BenchmarkRead(b *testing.B) {
	runtime.LockOSThread()
	ns, err := netns.New()
	if err != nil {
		b.Fatal(err)
	}
	defer ns.Close()
	for _, tool := range []string{"iptables-nft-restore", "iptables-legacy-restore"} {
		var s strings.Builder
		s.WriteString("*filter\n:KUBE-SERVICES - [0:0]\n")
		for i := range 100 {
			fmt.Fprintf(&s, "-A KUBE-SERVICES -m comment --comment \"shop/empty%d has no endpoints\" -d 10.97.0.%d -p tcp --dport 80 -j REJECT\n", i, i)
		}
		s.WriteString("-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES\nCOMMIT\n*nat\n:KUBE-SERVICES - [0:0]\n")
		for i := range 5000 {
			fmt.Fprintf(&s, ":KUBE-SVC-%016d - [0:0]\n:KUBE-SEP-%016d - [0:0]\n", i, i)
		}
		for i := range 5000 {
			a := netip.AddrFrom4([4]byte{10, 96, byte(i >> 8), byte(i)})
			fmt.Fprintf(&s, "-A KUBE-SERVICES -d %v -p tcp -m comment --comment \"shop/service%d cluster IP\" --dport 80 -j KUBE-SVC-%016d\n", a, i, i)
			fmt.Fprintf(&s, "-A KUBE-SVC-%016d -m comment --comment \"shop/service%d -> 10.1.1.1:80\" -j KUBE-SEP-%016d\n", i, i, i)
			fmt.Fprintf(&s, "-A KUBE-SEP-%016d -s 10.1.1.1/32 -m comment --comment \"shop/service%d\" -j RETURN\n", i, i)
			fmt.Fprintf(&s, "-A KUBE-SEP-%016d -p tcp -m comment --comment \"shop/service%d\" -j DNAT --to-destination 10.1.1.1:80\n", i, i)
		}
		s.WriteString("-A PREROUTING -j KUBE-SERVICES\nCOMMIT\n")
		restore := exec.Command(tool)
		restore.Stdin = strings.NewReader(s.String())
		if out, err := restore.CombinedOutput(); err != nil {
			b.Fatalf("%s: %v: %s", tool, err, out)
		}
		b.Run(tool, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r, err := Read(ns)
				if err != nil || len(r.Rules) < 100 {
					b.Fatal(len(r.Rules), err)
				}
			}
		})
	}
}

// TestNftQueue reads what nftables hands to user space, where the kernel has nft_queue.
func TestNftQueue(t *testing.T) {
	ns, run := inNewNamespace(t)
	run("nft add table ip inspect; nft add chain ip inspect input '{ type filter hook input priority 0; }'")
	if out, err := exec.Command("nft", "add", "rule", "ip", "inspect", "input", "ip", "saddr", "192.0.2.7", "counter", "queue", "num", "100").CombinedOutput(); err != nil {
		t.Logf("not on this kernel: %v: %s", err, out)
		return
	}
	run("nft add rule ip inspect input udp dport 53 queue num 4-7 bypass")
	ping(run, "192.0.2.7")
	lines, _ := read(t, ns)
	want(t, lines,
		`nft rule ip inspect input handle N: queue, hooks 2 100+1 bypass false 192.0.2.7/32/not false counted 3`,
		`nft rule ip inspect input handle N: queue, hooks 2 4+4 bypass true port 53-53/not false protocol udp`,
	)
}
