package agent

import (
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/loader"
	"tracer/internal/record"
)

// TestCalled follows which places of pods are called: small packets to the lower port, for some looks after the last.
func TestCalled(t *testing.T) {
	t.Parallel()
	const device, uplink, netns = 4, 2, 9
	pods := &podDevices{}
	pods.appeared = map[int]time.Duration{device: 0}
	packet := func(from, to string, bytes uint32, out int) record.Record {
		flow := record.Flow{Source: netip.MustParseAddrPort(from), Destination: netip.MustParseAddrPort(to), Protocol: unix.IPPROTO_TCP}
		r := record.Record{Kind: record.Finished, First: flow, Last: flow, IPBytes: bytes, Len: 2}
		r.Hops[0], r.Hops[1] = record.Hop{Hook: record.Ingress, Ifindex: 3}, record.Hop{Hook: record.Xmit, Ifindex: out}
		return r
	}
	var c called
	c.note([]record.Record{
		packet("10.2.0.1:40000", "10.1.0.1:80", 60, device),
		packet("10.2.0.1:40001", "10.1.0.1:81", 1400, device), // no SYN
		packet("10.2.0.1:82", "10.1.0.1:40000", 60, device),   // an answer
		packet("10.1.0.1:40000", "10.2.0.1:83", 60, uplink),   // leaves
	}, pods)
	want := loader.Listener{Netns: netns, Address: netip.MustParseAddrPort("10.1.0.1:80")}
	for look := range callLasts {
		found := c.take(map[int]int{device: netns})
		if r, ok := found[want]; len(found) != 1 || !ok || r.Last.Source.Port() != 40000 {
			t.Fatalf("look %d: %+v", look, found)
		}
	}
	if found := c.take(map[int]int{device: netns}); len(found) != 0 {
		t.Errorf("nobody calls any more, and there is %+v", found)
	}
	c.note([]record.Record{packet("10.2.0.1:40000", "10.1.0.1:80", 60, device)}, pods)
	if found := c.take(nil); len(found) != 0 {
		t.Errorf("the pod's namespace is not known, and there is %+v", found)
	}
}
