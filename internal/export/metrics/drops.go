package metrics

var (
	dropsTotal = counter("tracer_drops_total",
		"Packets (sk_buffs) lost on this node, by the kernel's reason and the stage that they were lost in.",
		"reason", "stage", "device", "direction")
	pairDrops = counter("tracer_pair_drops_total",
		"Packets (sk_buffs) of a pair that were lost on this node, by the kernel's reason.",
		append([]string{"reason"}, pairLabels...)...)
)

// drops are those of all packets.
var drops = subject{
	families: []*metricFamily{dropsTotal},
	collect: func(from *input, to *scrape) {
		for i := range from.snapshot.Drops {
			if d := &from.snapshot.Drops[i]; d.Loss {
				to.add(dropsTotal, float64(d.Packets), d.Reason, string(d.Stage), d.Device, string(d.Direction))
			}
		}
	},
}

// collectDrops adds those of a pair's packets.
func (a *pairAccumulator) collectDrops(to *scrape, name pairName) {
	for reason, n := range a.drops {
		to.add(pairDrops, float64(n), name.labels(reason)...)
	}
}
