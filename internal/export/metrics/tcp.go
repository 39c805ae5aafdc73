package metrics

var (
	pairRTT = histogramFamily("tracer_tcp_rtt_seconds",
		"Round trips of a pair's TCP connections by the sender's kernel, sampled; delayed acknowledgements included.", pairLabels...)
	pairRetransmits = counter("tracer_tcp_retransmits_total",
		"TCP segments of a pair that its sender, on this node, has retransmitted.", pairLabels...)
)

func (a *pairAccumulator) collectTCP(to *scrape, name pairName, classic bool) {
	if a.tcp == nil {
		return
	}
	to.add(pairRetransmits, float64(a.tcp.Retransmits), name.labels()...)
	if a.tcp.RTT.Count() > 0 {
		to.histogram(pairRTT, &a.tcp.RTT, classic, name.labels()...)
	}
}
