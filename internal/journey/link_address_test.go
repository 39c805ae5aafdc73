package journey

import (
	"net/netip"
	"slices"
	"testing"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestLinkAddresses drops packets that stay on their link for every reason, at every place: none is a loss.
func TestLinkAddresses(t *testing.T) {
	t.Parallel()
	bridged := slices.Clone(node)
	bridged[7].Broadcasts = []netip.Addr{netip.MustParseAddr("10.244.1.255")}
	devices := NewDevices(bridged)
	drops := []struct{ hops, reason, location string }{
		{"I cali1 0, F cali1 3", "IPV6DISABLED", "ip6_rcv_core"},
		{"I cali1 0, F cali1 3", "TC_INGRESS", "__netif_receive_skb_core"},
		{"I cali1 0, F cali1 3", "NETFILTER_DROP", "nf_hook_slow"},
		{"I cali1 0, F cali1 3", "", "ip_error"},
		{"I cali1 0, F cali1 3", "IP_INADDRERRORS", "ip_error"},
		{"E slow0 0, F slow0 4", "QDISC_DROP", "__dev_queue_xmit"},
		{"E tunl0 0, F tunl0 4", "TC_EGRESS", "__dev_queue_xmit"},
		{"E tunl0 0, X tunl0 1, F tunl0 4", "NO_TX_TARGET", "vxlan_xmit"},
		{"I eth0 0, I tunl0 1, E cali1 2, X cali1 3, F cali1 9", "SOCKET_RCVBUFF", "udp_queue_rcv_one_skb"},
	}
	for _, test := range []struct {
		from, to string
		loss     bool
	}{
		{"10.244.1.7:40000", "10.244.2.7:80", true},
		{"10.244.1.7:40000", "10.244.1.254:138", true},
		{"[fd00::7]:40000", "[fd00::8]:80", true},
		{"10.244.1.7:40000", "169.254.20.10:53", true}, // a resolver of pods
		{"169.254.20.10:53", "10.244.1.7:40000", true},
		{"10.244.1.7:40000", "169.254.169.254:80", false},
		{"169.254.3.4:138", "10.244.1.7:138", false},
		{"[fe80::a]:0", "[ff02::2]:0", false}, // a router solicitation
		{"[::]:0", "[ff02::1:ff00:7]:0", false},
		{"[fe80::a]:0", "[fd00::8]:0", false},
		{"[fd00::8]:0", "[fe80::a]:0", false},
		{"[fe80::a]:546", "[ff02::1:2]:547", false},
		{"10.244.1.7:5353", "224.0.0.251:5353", false},
		{"[fd00::7]:5353", "[ff05::fb]:5353", false},
		{"0.0.0.0:68", "255.255.255.255:67", false},
		{"10.244.1.7:9", "255.255.255.255:9", false},
		{"10.244.1.7:138", "10.244.1.255:138", false}, // the bridge's own subnet
		{"10.244.1.7:40000", "0.0.0.0:80", false},
	} {
		for _, d := range drops {
			for _, attributed := range []bool{true, false} {
				r := rec(t, record.Dropped, d.hops)
				r.Reason, r.Location, r.Attributed = d.reason, d.location, attributed
				r.First = record.Flow{Source: netip.MustParseAddrPort(test.from), Destination: netip.MustParseAddrPort(test.to)}
				r.Last = r.First
				p, err := PathOf(r, devices)
				if err != nil {
					t.Fatal(err)
				}
				if !attributed && d.reason == "" {
					continue // no loss, whatever the addresses
				}
				if p.Loss() != test.loss {
					t.Errorf("%s to %s, %s at %s, attributed %v: loss %v", test.from, test.to, d.reason, d.hops, attributed, p.Loss())
				}
			}
		}
	}
}

// TestServiceAtALinkAddress has the backend's address in the end, which counts.
func TestServiceAtALinkAddress(t *testing.T) {
	t.Parallel()
	r := rec(t, record.Dropped, "I cali1 0, F cali1 3")
	r.Reason = "NETFILTER_DROP"
	r.First.Source, r.First.Destination = netip.MustParseAddrPort("10.244.1.7:40000"), netip.MustParseAddrPort("169.254.9.9:80")
	r.Last.Source, r.Last.Destination = r.First.Source, netip.MustParseAddrPort("10.244.2.7:8080")
	if p, err := PathOf(r, NewDevices(node)); err != nil || !p.Loss() {
		t.Errorf("loss %v, %v", p.Loss(), err)
	}
}

// TestPlaceOfNoise keeps the place of what is no loss.
func TestPlaceOfNoise(t *testing.T) {
	t.Parallel()
	r := rec(t, record.Dropped, "E slow0 0, F slow0 4")
	r.Reason, r.Last.Destination = "QDISC_DROP", netip.MustParseAddrPort("224.0.0.251:5353")
	p, err := PathOf(r, NewDevices(node))
	if err != nil || p.Loss() || p.Where.Stage != Queue || p.Where.Device.Role != netdev.RoleOverlay {
		t.Errorf("%s, loss %v, %v", p.String(), p.Loss(), err)
	}
}
