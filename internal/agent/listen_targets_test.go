package agent

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/loader"
	"tracer/internal/record"
)

// TestListenTargets follows where in pods connections are attempted: small packets to the lower port, for some polls after the last.
func TestListenTargets(t *testing.T) {
	t.Parallel()
	const device, uplink, netns = 4, 2, 9
	isPod := func(ifindex int) bool { return ifindex == device }
	packet := func(from, to string, bytes uint32, out int) record.Record {
		flow := record.Flow{Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to), Protocol: unix.IPPROTO_TCP}
		r := record.Record{Kind: record.Finished, First: flow, Last: flow, IPBytes: bytes, Len: 2}
		r.Hops[0], r.Hops[1] = record.Hop{Hook: record.Ingress, Ifindex: 3}, record.Hop{Hook: record.Xmit, Ifindex: out}
		return r
	}
	var targets listenTargets
	targets.add([]record.Record{
		packet("10.2.0.1:40000", "10.1.0.1:80", 60, device),
		packet("10.2.0.1:40001", "10.1.0.1:81", 1400, device), // no SYN
		packet("10.2.0.1:82", "10.1.0.1:40000", 60, device),   // an answer
		packet("10.1.0.1:40000", "10.2.0.1:83", 60, uplink),   // leaves
	}, isPod)
	want := loader.ListenTarget{Netns: netns, Address: netip.MustParseAddrPort("10.1.0.1:80")}
	for poll := range targetPolls {
		found := targets.poll(map[int]int{device: netns})
		if r, ok := found[want]; len(found) != 1 || !ok || r.Last.Source.Port() != 40000 {
			t.Fatalf("poll %d: %+v", poll, found)
		}
	}
	if found := targets.poll(map[int]int{device: netns}); len(found) != 0 {
		t.Errorf("nobody calls any more, and there is %+v", found)
	}
	targets.add([]record.Record{packet("10.2.0.1:40000", "10.1.0.1:80", 60, device)}, isPod)
	if found := targets.poll(nil); len(found) != 0 {
		t.Errorf("the pod's namespace is not known, and there is %+v", found)
	}
}
