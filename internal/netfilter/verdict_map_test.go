package netfilter

import (
	"fmt"
	"regexp"
	"slices"
	"testing"
)

// TestVerdictMap reads what verdict maps drop: by one field of a packet as its match, by several as anything.
func TestVerdictMap(t *testing.T) {
	ns, run := inNewNamespace(t)
	run(`nft -f - <<'EOF'
table inet firewall {
	map blocked {
		type ipv4_addr : verdict
		elements = { 192.0.2.7 : drop, 192.0.2.8 : accept }
	}
	chain input {
		type filter hook input priority 0; policy accept;
		ct state vmap { established : accept, invalid : drop }
		counter tcp dport vmap { 22 : drop, 23 : drop, 80 : jump web }
		udp dport vmap { 1000-2000 : drop, 3000-4000 : accept }
		ip saddr . tcp dport vmap { 192.0.2.9 . 443 : drop }
		ip daddr vmap @blocked
		ip saddr vmap { 10.0.0.0/8 : drop, 192.0.2.1-192.0.2.3 : accept }
		meta l4proto vmap { tcp : accept }
	}
	chain web {
		accept
	}
}
EOF`)
	lines, rules := read(t, ns)
	slices.Sort(lines)
	const rule = `nft rule inet firewall input handle N, a verdict map,: drop, hooks 2`
	want(t, lines,
		rule+` 10.0.0.0/8/not false`,
		rule+` 192.0.2.7/32/not false`,
		rule+` ct state invalid`,
		rule+` port 1000-2000/not false protocol udp`,
		rule+` port 22-22/not false protocol tcp`,
		rule+` port 23-23/not false protocol tcp`,
		rule+` protocol tcp`,
	)
	for _, r := range rules {
		if listing := run("nft -na list chain inet firewall input"); !regexp.MustCompile(fmt.Sprintf(`vmap .*# handle %d\n`, r.Handle)).MatchString(listing) {
			t.Errorf("handle %d is not of a verdict map in %s", r.Handle, listing)
		}
	}
}
