package diagnose

import (
	"math"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
)

// underTunnel is what happens to packets on this node behind a tunnel that is not looked into, where they are the node's own:
// to which pair each belongs is not known, so all of the node's packets out stand for them.
type underTunnel struct {
	delay float64 // p50 of their time on this node, or how long the oldest waits in a queue, in seconds
	loss  float64 // share of them that is lost here
}

// underTunnels returns what tells of a pair what happens to it there: nothing, if it enters no such tunnel. What tunnels there are,
// and what happens to the node's own packets, is found out once, as there may be thousands of pairs and hundreds of devices.
func (w *window) underTunnels() func(*aggregate.Pair) underTunnel {
	isHidden := w.hiddenTunnels()
	var own *underTunnel
	return func(p *aggregate.Pair) underTunnel {
		enters := false
		for i := range p.Stages { // large: not to be copied
			enters = enters || isHidden(p.Stages[i].Device)
		}
		if !enters {
			return underTunnel{}
		}
		if own == nil {
			u := w.ownPackets()
			own = &u
		}
		return *own
	}
}

// ownPackets is what happens to those of the node itself on their way out.
func (w *window) ownPackets() (u underTunnel) {
	isOwn := func(k aggregate.PairKey) bool {
		return k.SrcWorkload == aggregate.NodeWorkload && k.Direction == journey.Out
	}
	var path hist.Histogram
	var sent, lost float64
	for i := range w.counts.Pairs {
		own := &w.counts.Pairs[i]
		if !isOwn(own.PairKey) {
			continue
		}
		path.Merge(&own.Path)
		sent += own.Packets
		for _, d := range own.Drops {
			if d.Loss {
				lost += float64(d.Segments)
			}
		}
	}
	u.delay = path.Quantile(0.5)
	for i := range w.counts.InFlight {
		for _, p := range w.counts.InFlight[i].Pairs {
			if w.counts.InFlight[i].Stage == journey.Queue && isOwn(p.PairKey) {
				u.delay = max(u.delay, p.Oldest)
			}
		}
	}
	if lost > 0 {
		u.loss = lost / (lost + sent)
	}
	return u
}

// of is how many of so many segments are lost.
func (u underTunnel) of(segments uint64) uint64 {
	return uint64(math.Round(u.loss * float64(segments)))
}

// hiddenTunnels returns what tells whether packets end at a tunnel's device because what comes out of it is not known again. Where
// no devices could be read, any may be one.
func (w *window) hiddenTunnels() func(device string) bool {
	if len(w.to.Devices) == 0 {
		return func(string) bool { return true }
	}
	var hidden []string
	for i := range w.to.Devices {
		if d := &w.to.Devices[i]; d.Hides() {
			hidden = append(hidden, d.Name)
		}
	}
	return func(device string) bool { return slices.Contains(hidden, device) }
}
