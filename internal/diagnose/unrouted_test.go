package diagnose

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// unrouted is a window in which default/web lost packets to a workload, at a stage and for a reason, while the kernel's tables
// say something of it. Another pair has come through.
func unrouted(to string, at aggregate.StageKey, reason, location string, packets uint64, said ...record.RouteLookup) Report {
	lost := aggregate.DropCount{DropKey: aggregate.DropKey{StageKey: at, Reason: reason, Location: location, Loss: true}, Packets: packets, Segments: packets}
	pair := aggregate.Pair{PairKey: key("default/web", to, at.Direction), Drops: []aggregate.DropCount{lost}}
	other := aggregate.Pair{PairKey: key("default/web", "default/db", journey.Out), Packets: 100}
	for i := range said {
		l := &said[i]
		l.Reason, l.Location, l.InPod = reason, location, at.Stage == journey.PodQueue
		if !l.Destination.IsValid() {
			l.Destination = netip.MustParseAddr("10.2.0.7")
		}
	}
	e := &snapshots{
		from: Snapshot{Taken: noon, Counts: &aggregate.Snapshot{}},
		to: Snapshot{
			Taken: noon.Add(15 * time.Second), Lookups: said,
			Devices: []netdev.Device{{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Up: true}, {Index: 3, Name: "vxlan.calico", Role: netdev.RoleOverlay, Up: true}},
			Counts:  &aggregate.Snapshot{Drops: []aggregate.DropCount{lost}, Pairs: []aggregate.Pair{pair, other}, Records: 1000},
		},
	}
	return e.diagnose()
}

// TestUnrouted says by the kernel's tables why there was no way on, and shows the command that proves it first.
func TestUnrouted(t *testing.T) {
	t.Parallel()
	forward := aggregate.StageKey{Stage: journey.Forward, Device: netdev.PodLabel, Direction: journey.Out}
	in := aggregate.StageKey{Stage: journey.Forward, Device: "vxlan.calico", Direction: journey.In}
	encap := aggregate.StageKey{Stage: journey.Encap, Device: "vxlan.calico", Direction: journey.Out}
	inPod := aggregate.StageKey{Stage: journey.PodQueue, Device: "pod:eth0", Direction: journey.Out}
	deliver := aggregate.StageKey{Stage: journey.Deliver, Device: netdev.PodLabel, Direction: journey.In}
	addr := netip.MustParseAddr
	for _, test := range []struct {
		about            string
		to               string
		at               aggregate.StageKey
		reason, location string
		packets          uint64
		said             record.RouteLookup
		cause            Cause
		severity         Severity
		place            string // by itself at's
		subject, next    string // of the finding: parts of it
		evidence         string
	}{
		{
			about: "a blackhole", at: forward, location: "ip_error", said: record.RouteLookup{Result: "blackhole", Route: "blackhole 10.2.0.7"},
			cause: NoRoute, subject: `the route "blackhole 10.2.0.7"`, next: "ip route show table all match 10.2.0.7",
			evidence: `the routing table says of 10.2.0.7: blackhole (the entry "blackhole 10.2.0.7")`,
		},
		{
			about: "a rule", at: forward, reason: "IP_INNOROUTES", location: "ip_error",
			said:  record.RouteLookup{Result: "prohibit", Rule: "100: from 10.1.0.7 prohibit", Source: addr("10.1.0.7")},
			cause: NoRoute, subject: `the rule "100: from 10.1.0.7 prohibit"`, next: "ip rule show", evidence: "for packets from 10.1.0.7",
		},
		{
			about: "no route, IPv6", at: forward, reason: "IP6_INNOROUTES", location: "ip6_pkt_drop",
			said:  record.RouteLookup{Result: "there is no route", Destination: addr("fd00::7")},
			cause: NoRoute, subject: "a missing route to fd00::7", next: "ip -6 route get fd00::7",
		},
		{
			about: "no IPv6 to the world", to: "_external", at: forward, reason: "IP6_INNOROUTES", location: "ip6_pkt_drop",
			said:  record.RouteLookup{Result: "there is no route", Destination: addr("2001:db8::1")},
			cause: NoRoute, severity: Warning, subject: "a missing route to 2001:db8::1", next: "ip -6 route get 2001:db8::1",
		},
		{
			about: "the node's block, to nobody", to: "_unknown", at: in, location: "ip_error", packets: 100,
			said:  record.RouteLookup{Result: "blackhole", Route: "blackhole 10.2.0.0/26 proto bird", Block: true},
			cause: NoRoute, severity: Warning, subject: "the route", next: "ip route show", evidence: "pods that have gone",
		},
		{
			about: "a pod without its address", at: deliver, reason: "IP_INADDRERRORS", location: "ip_error",
			said:  record.RouteLookup{Out: "cali1", OutIsPod: true, NextHop: addr("10.2.0.7")},
			cause: NoRoute, subject: "the pod behind cali1", next: "ip netns exec $(ip link show cali1 | sed -n 's/.*link-netns //p') ip addr show",
			evidence: "this node passes them to the pod by cali1",
		},
		{
			about: "the default route, to nobody", to: "_external", at: forward, location: "ip_error", packets: 100,
			said:  record.RouteLookup{Result: "unreachable", Route: "unreachable default", Block: true, Destination: addr("198.51.100.9")},
			cause: NoRoute, subject: "the route", next: "ip route show table all match 198.51.100.9",
		},
		{
			about: "a block with pods in it", at: in, location: "ip_error", packets: 100,
			said:  record.RouteLookup{Result: "blackhole", Route: "blackhole 10.2.0.0/16", Block: true},
			cause: NoRoute, subject: "the route", next: "ip route show",
		},
		{
			about: "forwarding", at: forward, reason: "IP_INADDRERRORS", location: "ip_error", packets: 6,
			said:  record.RouteLookup{Disabled: "net.ipv4.ip_forward", Device: "cali1", Route: "default via 172.30.0.1 dev eth0"},
			cause: NoRoute, subject: "net.ipv4.ip_forward = 0", next: "sysctl net.ipv4.ip_forward", evidence: "net.ipv4.ip_forward is 0: this node forwards nothing that comes in by cali1",
		},
		{
			about: "a gateway, since nothing is forwarded", at: inPod, reason: "NEIGH_FAILED", location: "neigh_invalidate",
			said:  record.RouteLookup{Disabled: "net.ipv4.ip_forward", Device: "cali1", NextHop: addr("169.254.1.1"), GatewaySilent: "net.ipv4.ip_forward is 0: …"},
			cause: NoRoute, subject: "net.ipv4.ip_forward = 0", next: "sysctl net.ipv4.ip_forward",
		},
		{
			about: "a gateway", at: inPod, reason: "NEIGH_FAILED", location: "neigh_invalidate", packets: 6,
			said:  record.RouteLookup{Device: "cali1", NextHop: addr("169.254.1.1"), Out: "eth0", GatewaySilent: "net.ipv4.conf.cali1.proxy_arp is 0"},
			cause: Neighbour, subject: "the gateway 169.254.1.1 of the pod behind cali1", next: "sysctl net.ipv4.conf.cali1.proxy_arp", evidence: "net.ipv4.conf.cali1.proxy_arp is 0",
		},
		{
			about: "a pod's neighbour that is not there", to: "_external", at: inPod, reason: "NEIGH_FAILED", location: "neigh_invalidate", packets: 60,
			said:  record.RouteLookup{Device: "veth1", NextHop: addr("10.2.0.7"), Out: "eth0"},
			cause: Neighbour, severity: Warning, subject: "10.2.0.7, which does not answer ARP of the pod behind veth1",
		},
		{
			about: "a next hop", at: in, reason: "NEIGH_FAILED", location: "neigh_invalidate",
			said:  record.RouteLookup{NextHop: addr("172.30.0.12"), Out: "eth0", Neighbour: "FAILED"},
			cause: Neighbour, subject: "the next hop 172.30.0.12 at eth0", next: "ip -s neigh show 172.30.0.12 dev eth0", evidence: "its neighbour entry is FAILED",
		},
		{
			about: "a scan of the node's network", to: "_external", at: forward, reason: "NEIGH_FAILED", location: "neigh_invalidate", packets: 60,
			said:  record.RouteLookup{NextHop: addr("10.2.0.7"), Out: "eth0", Neighbour: "FAILED"},
			cause: Neighbour, severity: Warning, subject: "the next hop 10.2.0.7",
		},
		{
			about: "a pod's eth0 is down", at: in, reason: "NEIGH_FAILED", location: "neigh_invalidate", packets: 6,
			said:  record.RouteLookup{NextHop: addr("10.2.0.7"), Out: "cali1", OutIsPod: true, OutState: "without a carrier", PeerDown: true},
			cause: LinkDown, place: "queue pod", subject: "the pod's device cali1, without a carrier", next: "ip -d -s link show dev cali1", evidence: "the pod's own end of it is down",
		},
		{
			about: "a full table", at: encap, reason: "NEIGH_CREATEFAIL", location: "ip_finish_output2",
			said:  record.RouteLookup{Table: &record.NeighbourTable{Entries: 1024, Limit: 1024, Fulls: 7, Sysctl: "net.ipv4.neigh.default.gc_thresh3"}},
			cause: Neighbour, subject: "the full neighbour table", next: "sysctl net.ipv4.neigh.default.gc_thresh3", evidence: "it holds 1,024 of at most 1,024 entries",
		},
		{
			about: "no forwarding entry", at: encap, reason: "NO_TX_TARGET", location: "vxlan_xmit", packets: 6,
			said:  record.RouteLookup{NextHop: addr("10.2.0.0"), Out: "vxlan.calico", LinkAddress: "66:00:00:00:00:02", NoForwardingEntry: true},
			cause: Neighbour, subject: "a missing forwarding entry of vxlan.calico", next: "bridge fdb show dev vxlan.calico | grep -i 66:00:00:00:00:02",
			evidence: "the next hop of 10.2.0.7 is 10.2.0.0 with MAC 66:00:00:00:00:02",
		},
		{
			about: "the overlay's MAC", at: in, reason: "OTHERHOST", location: "ip_rcv_core",
			said:  record.RouteLookup{Device: "vxlan.calico", FrameAddress: "66:00:00:00:00:01", DeviceAddress: "66:00:00:00:00:02"},
			cause: Neighbour, subject: "a wrong MAC in frames to vxlan.calico", next: "ip -d link show dev vxlan.calico",
			evidence: "the frames are for 66:00:00:00:00:01; vxlan.calico has 66:00:00:00:00:02",
		},
		{
			about: "a pod's wrong neighbour entry of its gateway", at: forward, reason: "OTHERHOST", location: "ip_rcv_core",
			said:  record.RouteLookup{Device: "cali1", FrameAddress: "02:00:00:00:00:01", DeviceAddress: "ee:ee:ee:ee:ee:ee"},
			cause: Neighbour, subject: "a wrong MAC in frames from the pod behind cali1", next: "ip neigh show # in the pod",
			evidence: "the frames are for 02:00:00:00:00:01; cali1 has ee:ee:ee:ee:ee:ee",
		},
		{
			about: "a wrong neighbour of a pod", at: deliver, reason: "OTHERHOST", location: "ip_rcv_core",
			said: record.RouteLookup{
				Device: "cali1", FrameAddress: "02:00:00:00:00:01", DeviceAddress: "02:00:00:00:00:02", NextHop: addr("10.2.0.7"), Out: "cali1",
				Neighbour: "PERMANENT", LinkAddress: "02:00:00:00:00:01",
			},
			cause: Neighbour, subject: "a wrong MAC in frames to cali1", next: "ip neigh show 10.2.0.7 dev cali1",
			evidence: "this node's neighbour entry of 10.2.0.7 at cali1 is 02:00:00:00:00:01, PERMANENT",
		},
	} {
		if test.to == "" {
			test.to = "default/api"
		}
		if test.packets == 0 {
			test.packets = 40
		}
		if test.severity == "" {
			test.severity = Critical
		}
		if test.place == "" {
			test.place = string(test.at.Stage) + " " + test.at.Device
		}
		if test.reason == "" {
			test.reason = journey.NotSpecified
		}
		r := unrouted(test.to, test.at, test.reason, test.location, test.packets, test.said)
		if len(r.Findings) != 1 {
			t.Errorf("%s: %d findings: %+v", test.about, len(r.Findings), r.Findings)
			continue
		}
		f := r.Findings[0]
		place := string(f.Stage) + " " + f.Device
		if f.Cause != test.cause || f.Severity != test.severity || place != test.place || !strings.Contains(f.subject, test.subject) {
			t.Errorf("%s: %s %s at %s: %q", test.about, f.Severity, f.Cause, place, f.subject)
		}
		if len(f.Next) > 0 && !strings.HasPrefix(f.Next[0], test.next) || len(f.Next) == 0 && test.next != "" {
			t.Errorf("%s: next %q", test.about, f.Next)
		}
		if !slices.ContainsFunc(f.Evidence, func(e string) bool { return strings.Contains(e, test.evidence) }) {
			t.Errorf("%s: evidence %q", test.about, f.Evidence)
		}
	}
}

// TestUnroutedOnce tells what has one cause once, wherever the packets were lost, and apart what has another.
func TestUnroutedOnce(t *testing.T) {
	t.Parallel()
	full := record.NeighbourTable{Entries: 9, Limit: 9, Sysctl: "net.ipv4.neigh.default.gc_thresh3"}
	var counts aggregate.Snapshot
	for _, at := range []aggregate.StageKey{
		{Stage: journey.Forward, Device: netdev.PodLabel, Direction: journey.Out}, {Stage: journey.Encap, Device: "tunl0", Direction: journey.Out},
		{Stage: journey.Unknown, Device: "tunl0"},
	} {
		lost := aggregate.DropCount{DropKey: aggregate.DropKey{StageKey: at, Reason: "NEIGH_CREATEFAIL", Location: "ip_finish_output2", Loss: true}, Packets: 40}
		counts.Drops = append(counts.Drops, lost)
		counts.Pairs = append(counts.Pairs, aggregate.Pair{PairKey: key("default/web", "default/api", at.Direction), Drops: []aggregate.DropCount{lost}})
	}
	e := &snapshots{from: Snapshot{Taken: noon}, to: Snapshot{
		Taken: noon.Add(15 * time.Second), Counts: &counts,
		Lookups: []record.RouteLookup{{Reason: "NEIGH_CREATEFAIL", Location: "ip_finish_output2", Table: &full}},
	}}
	if r := e.diagnose(); len(r.Findings) != 1 || r.Findings[0].Drops.Packets != 120 {
		t.Errorf("%+v", r.Findings)
	}
}
