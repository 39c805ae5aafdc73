package aggregate

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"tracer/internal/record"
)

// TestPeers tells round trips apart by the node that they lead to.
func TestPeers(t *testing.T) {
	t.Parallel()
	var tcp TCP
	near, far := record.TCP{RTT: time.Millisecond, Delivered: 1}, record.TCP{RTT: 40 * time.Millisecond, Span: time.Second, Delivered: 3}
	tcp.addSender(&near, time.Hour, "node2")
	tcp.addSender(&far, time.Hour, "node3")
	tcp.addSender(&far, time.Hour, "") // not known
	before := tcp.snapshot()
	tcp.addSender(&far, time.Hour, "node3")
	tcp.addSender(&near, time.Hour, "node4")
	if got := before.Peers; len(got) != 2 || got[0].RTT.Count() != 1 || got[0].HandshakeRTT.Count() != 1 || got[1].RTT.Count() != 1 || got[1].HandshakeRTT.Count() != 0 {
		t.Errorf("at first %+v", got)
	}
	counts := func(c *TCP) (text string) {
		for _, p := range c.Peers {
			text += fmt.Sprintf("%s %d %d, ", p.Node, p.RTT.Count(), p.HandshakeRTT.Count())
		}
		return text
	}
	if got := counts(tcp.since(before)); got != "node2 0 0, node3 1 0, node4 1 1, " {
		t.Errorf("since then %s", got)
	}
	sum := before.snapshot()
	sum.Merge(tcp.since(before))
	if got, want := counts(sum), counts(&tcp); got != want || sum.RTT.Count() != tcp.RTT.Count() {
		t.Errorf("together %s, want %s", got, want)
	}
	for i := range 2 * maxPeers {
		tcp.addSender(&near, time.Hour, fmt.Sprint("other", i))
	}
	if len(tcp.Peers) != maxPeers || tcp.RTT.Count() != uint64(5+2*maxPeers) {
		t.Errorf("%d nodes, %d round trips", len(tcp.Peers), tcp.RTT.Count())
	}
}

// TestPeerOf names where a flow leads, through a Service too, and to what that pod is limited.
func TestPeerOf(t *testing.T) {
	t.Parallel()
	known := names{}
	for address, id := range cluster {
		if id.Workload == "api" {
			id.Node, id.Bandwidth, id.EgressBandwidth = "node9", 20, 10
		}
		known[address] = id
	}
	a := New(Options{Namer: known})
	a.SetDevices(node)
	sent := request(record.Finished)
	a.Add(&sent)
	a.Add(connection(sent.First.Source.String(), sent.First.Destination.String(), 1, record.TCP{Ifindex: 1, RTT: time.Millisecond, Delivered: 1}))
	p := pairOf(t, a.Snapshot(), "web", "api", "out")
	if len(p.TCP.Peers) != 1 || p.TCP.Peers[0].Node != "node9" || p.TCP.Peers[0].HandshakeRTT.Count() != 1 || p.TCP.PeerLimit != 10 {
		t.Errorf("%+v, limit %d", p.TCP.Peers, p.TCP.PeerLimit)
	}
}

// TestPeerOfNewConnections names where connections lead of which no flow is found yet, as that is not looked for at each: the handshakes
// of those that live short are hardly ever seen otherwise.
func TestPeerOfNewConnections(t *testing.T) {
	t.Parallel()
	known := names{}
	for address, id := range cluster {
		if id.Workload == "api" {
			id.Node = "node9"
		}
		known[address] = id
	}
	a := New(Options{Namer: known})
	a.SetDevices(node)
	sent := request(record.Finished)
	a.Add(&sent)
	to := sent.Last.Destination
	for port := range uint16(20) {
		from := netip.AddrPortFrom(sent.First.Source.Addr(), 50000+port)
		a.Add(connection(from.String(), to.String(), 1, record.TCP{Ifindex: 1, RTT: time.Millisecond, Delivered: 1}))
	}
	p := pairOf(t, a.Snapshot(), "web", "api", "out")
	if len(p.TCP.Peers) != 1 || p.TCP.Peers[0].Node != "node9" || p.TCP.Peers[0].HandshakeRTT.Count() != p.TCP.HandshakeRTT.Count() || p.TCP.HandshakeRTT.Count() != 20 {
		t.Errorf("%d handshakes: %+v", p.TCP.HandshakeRTT.Count(), p.TCP.Peers)
	}
}
