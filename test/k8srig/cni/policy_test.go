package cni

import (
	_ "embed"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

//go:embed visitor.yaml
var visitorYAML string

// policies are rules that forbid pods what they ask of another one, as agents that enforce network policies write them: by a kind of
// kube-proxy, which has its own in the same tables. VISITORS are the pods' addresses, SERVER the other one's.
var policies = map[string]struct {
	owner, chain string
	add, remove  []string // commands
}{
	"iptables": {
		owner: "kube-router", chain: "KUBE-POD-FW-MNHCZ5KJZJXBNZ5C",
		add: []string{
			"iptables -N KUBE-ROUTER-FORWARD",
			"iptables -N KUBE-POD-FW-MNHCZ5KJZJXBNZ5C",
			"iptables -A KUBE-ROUTER-FORWARD -s VISITORS -m comment --comment jump-to-chain-of-pod -j KUBE-POD-FW-MNHCZ5KJZJXBNZ5C",
			"iptables -A KUBE-POD-FW-MNHCZ5KJZJXBNZ5C -d SERVER -m comment --comment drop-what-no-policy-allows -j DROP",
			"iptables -I FORWARD -m comment --comment kube-router-netpol -j KUBE-ROUTER-FORWARD",
		},
		remove: []string{
			"iptables -D FORWARD -m comment --comment kube-router-netpol -j KUBE-ROUTER-FORWARD", "iptables -F KUBE-ROUTER-FORWARD", "iptables -X KUBE-ROUTER-FORWARD",
			"iptables -F KUBE-POD-FW-MNHCZ5KJZJXBNZ5C", "iptables -X KUBE-POD-FW-MNHCZ5KJZJXBNZ5C",
		},
	},
	"nftables": {
		owner: "Calico", chain: "filter-cali-fw-visitor",
		add: []string{
			"nft add table ip calico",
			"nft add set ip calico cali40s-visitors { type ipv4_addr; elements = { VISITORS }; }",
			"nft add chain ip calico filter-cali-fw-visitor",
			`nft add rule ip calico filter-cali-fw-visitor ip daddr SERVER counter drop comment "cali:yvGbIDkQLs8Gm2tH;_Drop_if_no_policies_passed_packet"`,
			"nft add chain ip calico filter-FORWARD { type filter hook forward priority filter; }",
			"nft add rule ip calico filter-FORWARD ip saddr @cali40s-visitors counter jump filter-cali-fw-visitor",
		},
		remove: []string{"nft delete table ip calico"},
	},
}

// policy has rules of a policy agent's drop what some pods of the callers' node send to the other node. The rule is named, who made it, and
// both ends. The pods are the first that come after the plugins' list was written anew.
func (l *layout) policy(t *testing.T, proxy string) {
	t.Helper()
	n, p := l.nodes[0], policies[proxy]
	server := l.kubectl(t, "-n store get pods -l app=api -o jsonpath={.items[0].status.podIP} --field-selector spec.nodeName="+l.nodes[1].Name)
	l.apply(t, strings.ReplaceAll(visitorYAML, "SERVER", server))
	l.kubectl(t, "-n store rollout status deployment/visitor --timeout=300s")
	visitors := strings.Fields(l.kubectl(t, "-n store get pods -l app=visitor -o jsonpath={.items[*].status.podIP}"))
	l.healthy(t)
	runOn := func(commands []string) {
		t.Helper()
		for _, line := range commands {
			words := strings.Fields(strings.NewReplacer("SERVER", server, "VISITORS", strings.Join(visitors, ",")).Replace(line))
			if err := n.Run(words...); err != nil {
				t.Fatal(err)
			}
		}
	}
	runOn(p.add)
	begin := time.Now()
	until(t, time.Minute, "name the rule", func() error {
		r, err := diagnose(n)
		if err != nil {
			return err
		}
		if r.Verdict != "fault" || r.Findings[0].Cause != "policy-drop" {
			return fmt.Errorf("%s: %s", r.Verdict, r.Summary)
		}
		text, _ := n.Tracer("diagnose") // with an exit code that says that there is a fault
		for _, want := range []string{p.chain, p.owner, "store/visitor", "store/api"} {
			if !strings.Contains(text, want) {
				return errors.New("no " + want + " in\n" + text)
			}
		}
		return nil
	})
	took := fmt.Sprintf("%.0f s", time.Since(begin).Seconds())
	l.stories = append(l.stories, fmt.Sprintf("`policy-drop`, a rule of %s, after %s", p.owner, took))
	runOn(p.remove)
	l.kubectl(t, "-n store delete deployment visitor --wait=true")
	l.healthy(t)
}

// reconfigured writes the plugins' list anew, with one thing changed: that changes nothing of what is there.
func (l *layout) reconfigured(t *testing.T, config, old, changed string) {
	t.Helper()
	if !strings.Contains(config, old) {
		t.Fatalf("there is no %s in %s", old, config)
	}
	l.undisturbed(t, "the plugins' list written anew", func() {
		for _, n := range l.nodes {
			if err := n.Reconfigure(strings.ReplaceAll(config, old, changed)); err != nil {
				t.Fatal(err)
			}
		}
	})
}
