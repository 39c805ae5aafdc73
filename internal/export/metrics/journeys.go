package metrics

var (
	journeysTotal = counter("tracer_journeys_total",
		"Journeys of packets by what became of them.", "outcome")
	recordsLost = counter("tracer_records_lost_total",
		"Records that the kernel made and that were missed, as the ring buffer was full.", "kind")
)

// journeys are what became of journeys, and of the records of those that ended.
var journeys = subject{
	families: []*metricFamily{journeysTotal, recordsLost},
	collect: func(from *input, to *scrape) {
		for outcome, n := range from.status.Journeys {
			to.add(journeysTotal, float64(n), outcome)
		}
		for kind, n := range from.status.Lost {
			to.add(recordsLost, float64(n), kind)
		}
	},
}
