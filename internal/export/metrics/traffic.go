package metrics

var (
	pairPackets = counter("tracer_packets_total",
		"Packets (segments) of a pair that passed this node.", pairLabels...)
	pairBytes = counter("tracer_bytes_total",
		"Bytes of a pair's inner IP packets that passed this node.", pairLabels...)
)

func (a *pairAccumulator) collectTraffic(to *scrape, name pairName) {
	to.add(pairPackets, a.packets, name.labels()...)
	to.add(pairBytes, a.bytes, name.labels()...)
}
