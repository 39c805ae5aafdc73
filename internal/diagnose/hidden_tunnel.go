package diagnose

import (
	"math"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// underTunnel is what happens to packets on this node behind a tunnel that is not looked into, where they are the node's own:
// to which pair each belongs is not known, so all of the node's packets out stand for them.
type underTunnel struct {
	delay float64 // p50 of their time on this node, or how long the oldest waits in a queue, in seconds
	loss  float64 // share of them that is lost here
}

// underTunnel is nothing for a pair that enters no such tunnel.
func (w *window) underTunnel(p *aggregate.Pair) (u underTunnel) {
	if !slices.ContainsFunc(p.Stages, func(s aggregate.StageDelay) bool { return w.isHiddenTunnel(s.Device) }) {
		return u
	}
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

// isHiddenTunnel tells whether packets end at a tunnel's device because what comes out of it is not known again. Where no
// devices could be read, any may be one.
func (w *window) isHiddenTunnel(device string) bool {
	return len(w.to.Devices) == 0 || slices.ContainsFunc(w.to.Devices, func(d netdev.Device) bool {
		return d.Name == device && d.Hides()
	})
}
