package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"tracer/internal/governor"
	"tracer/internal/journey"
	"tracer/internal/lab"
	"tracer/internal/pairpath"
	"tracer/internal/trace"
)

// path is what both nodes' agents see between two pods, and packets some that both saw.
func (c *cluster) path(ctx context.Context, src, dst string, window time.Duration) (pairpath.Path, pairpath.Packets) {
	c.Helper()
	from, _ := c.lab.Pod(src)
	to, _ := c.lab.Pod(dst)
	q := pairpath.Query{Src: []netip.Addr{from.Address}, Dst: []netip.Addr{to.Address}, Window: window, Journeys: pairpath.MaxJourneys}
	answers := make([]pairpath.Answer, len(c.agents))
	var group errgroup.Group
	for i, a := range c.agents {
		group.Go(func() error {
			half, err := a.Path(ctx, q)
			answers[i] = pairpath.Answer{Node: c.lab.Node(i + 1).Name, Half: &half}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		c.Fatal(err)
	}
	at, other := pairpath.End{Name: src, Nodes: []string{answers[0].Node}}, pairpath.End{Name: dst, Nodes: []string{answers[1].Node}}
	packets := pairpath.JoinPackets(at, other, slices.Clone(answers), pairpath.Choice{Most: pairpath.MaxJourneys, Way: pairpath.There})
	p := pairpath.Join(at, other, answers)
	var text textLog
	if err := p.WriteText(&text); err != nil {
		c.Fatal(err)
	}
	one := packets
	one.Packets = one.Packets[:min(1, len(one.Packets))]
	if err := one.WriteText(&text); err != nil {
		c.Fatal(err)
	}
	c.Log("\n" + string(text))
	return p, packets
}

type textLog []byte

func (l *textLog) Write(p []byte) (int, error) {
	*l = append(*l, p...)
	return len(p), nil
}

// TestPath shows each stage between two pods on two nodes, there and back, and the wire by packets that both saw; then with an overlay that
// holds what goes there, the delay in that line alone.
func TestPath(t *testing.T) {
	t.Parallel()
	// Agents that sample, each for itself, as they do where other work needs the CPUs, and whose records wait for names.
	c := newLimitedCluster(t, lab.DefaultLoad(), governor.Limits{MaxRecords: 3000, MaxCPU: 1e-6}, func(o *Options) { o.OwnerSource = noPods{} })
	c.eventually(30*time.Second, "sampling", func() (bool, string) {
		for _, a := range c.agents {
			if s := a.Sampling(); s.OneIn <= 1 {
				return false, fmt.Sprintf("%+v", s)
			}
		}
		return true, ""
	})
	usual, packets := c.path(t.Context(), lab.Web, lab.API, 3*time.Second)
	overlay := c.lab.OverlayDevice()
	hop := func(p *pairpath.Path, way string, node int, stage journey.Stage, device string) *pairpath.Hop {
		for i := range p.Hops {
			if h := &p.Hops[i]; h.Way == way && h.Node == c.lab.Node(node).Name && h.Stage == stage && h.Device == device {
				return h
			}
		}
		return &pairpath.Hop{}
	}
	for _, want := range []struct {
		way    string
		node   int
		stage  journey.Stage
		device string
	}{
		{pairpath.There, 1, journey.Forward, overlay}, {pairpath.There, 1, journey.Queue, overlay}, {pairpath.There, 1, journey.Encap, overlay},
		{pairpath.There, 2, journey.Decap, overlay}, {pairpath.There, 2, journey.Forward, "pod"},
		{pairpath.Back, 2, journey.Forward, overlay}, {pairpath.Back, 2, journey.Queue, overlay}, {pairpath.Back, 2, journey.Encap, overlay},
		{pairpath.Back, 1, journey.Decap, overlay}, {pairpath.Back, 1, journey.Forward, "pod"},
	} {
		if h := hop(&usual, want.way, want.node, want.stage, want.device); h.Packets == 0 {
			t.Errorf("%s: no %s at %s on node %d", want.way, want.stage, want.device, want.node)
		}
	}
	w := usual.Wire
	if w == nil || w.RoundTrip == nil || float64(w.Joined) < 0.95*float64(w.Followed) {
		t.Fatalf("wire: %+v", w)
	}
	// One kernel, one clock: what is between the nodes is some microseconds, or what the machine stands still for.
	if *w.RoundTrip < 0 || *w.RoundTrip > 0.02 {
		t.Errorf("out and back take %v s", *w.RoundTrip)
	}
	if packets.Joined < 10 || len(packets.Packets) == 0 || len(packets.Packets[0].Legs) != 2 {
		t.Errorf("%d packets joined one by one", packets.Joined)
	}

	const delay = 200 * time.Millisecond
	if _, err := c.lab.Fault(lab.Fault{Delay: delay}); err != nil {
		t.Fatal(err)
	}
	c.settled(0.7*delay.Seconds(), func(r lab.Report) float64 { return r.Request.Delay.P50 })
	slow, slowPackets := c.path(t.Context(), lab.Web, lab.API, 5*time.Second)
	if h := hop(&slow, pairpath.There, 1, journey.Queue, overlay); h.P50 == nil || *h.P50 < 0.5*delay.Seconds() || h.Share < 0.8 {
		t.Errorf("the queue that holds packets: %+v", h)
	}
	for i := range slow.Hops {
		h := &slow.Hops[i]
		if h.P50 != nil && *h.P50 > 0.2*delay.Seconds() && (h.Stage != journey.Queue || h.Device != overlay || h.Way != pairpath.There) {
			t.Errorf("%s on %s: %s at %q takes %v s", h.Way, h.Node, h.Stage, h.Device, *h.P50)
		}
	}
	if w := slow.Wire; w == nil || w.RoundTrip == nil || *w.RoundTrip > 0.2*delay.Seconds() {
		t.Errorf("the wire is not what is slow: %+v", w)
	}
	if len(slowPackets.Packets) == 0 || len(slowPackets.Packets[0].Legs) != 2 {
		t.Fatalf("packets: %+v", slowPackets)
	}
	// A packet's own waterfall: it waits in that queue, on the first node.
	leg := &slowPackets.Packets[0].Legs[0]
	held := slices.ContainsFunc(leg.Trace.Stages, func(s trace.Stage) bool {
		return s.Stage == journey.Queue && s.Device == overlay && s.Seconds > 0.5*delay.Seconds()
	})
	if leg.Node != c.lab.Node(1).Name || !held {
		t.Errorf("the slowest packet: %+v", slowPackets.Packets[0])
	}
}

// TestPathBehindWireGuard has packets that are not known again behind the overlay's device: the wire says so.
func TestPathBehindWireGuard(t *testing.T) {
	t.Parallel()
	c := newLabCluster(t, lab.Options{Overlay: lab.WireGuard, Load: lab.DefaultLoad()}, governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3})
	if c == nil {
		(&pairOfNodes{T: t}).mustBeHost() // all guests' kernels have it
		return
	}
	p, _ := c.path(t.Context(), lab.Web, lab.API, 3*time.Second)
	w := p.Wire
	if w == nil || w.RoundTrip == nil || float64(w.Joined) < 0.95*float64(w.Followed) {
		t.Fatalf("wire: %+v", w)
	}
	if overlay := c.lab.OverlayDevice(); len(w.Hidden) != 1 || w.Hidden[0] != overlay {
		t.Errorf("hidden by %v, want %s", w.Hidden, overlay)
	}
}
