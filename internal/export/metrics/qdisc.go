package metrics

var (
	qdiscInfo = gauge("tracer_qdisc_info",
		"1 for each kind of qdisc at the leaves of a device's tree.", "device", "kind")
	qdiscBacklog = gauge("tracer_qdisc_backlog_bytes",
		"Bytes that wait in a device's leaf qdiscs of that kind.", "device", "kind")
	qdiscDrops = counter("tracer_qdisc_drops_total",
		"Packets (sk_buffs) dropped by a device's leaf qdiscs of that kind, as they count themselves.", "device", "kind")
	qdiscOverlimits = counter("tracer_qdisc_overlimits_total",
		"Times that a device's leaf qdiscs of that kind held packets back for their rate.", "device", "kind")
)

// subject is the metrics of qdiscs, with their counters as accumulated.
func (a *qdiscAccumulator) subject() subject {
	return subject{
		families: []*metricFamily{qdiscInfo, qdiscBacklog, qdiscDrops, qdiscOverlimits},
		collect: func(from *input, to *scrape) {
			for i := range from.devices {
				label := from.devices[i].Role.Label(from.devices[i].Name)
				for q := range from.devices[i].Root.Leaves() {
					to.max(qdiscInfo, 1, label, q.Kind)
					if q.Queues() {
						to.add(qdiscBacklog, float64(q.BacklogBytes), label, q.Kind)
					}
				}
			}
			a.update(from.devices)
			for key, n := range a.totals() {
				to.add(qdiscDrops, float64(n.drops), key.device, key.kind)
				to.add(qdiscOverlimits, float64(n.overlimits), key.device, key.kind)
			}
		},
	}
}
