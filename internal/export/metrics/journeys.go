package metrics

var (
	journeysTotal = counter("tracer_journeys_total",
		"Journeys of packets by what became of them.", "outcome")
	recordsLost = counter("tracer_records_lost_total",
		"Records that the kernel made and that were missed, as the ring buffer was full.", "kind")
	pairOverflow = counter("tracer_pair_overflow_total",
		"Records that count for workload _other, as more pairs than the agent keeps talk to each other.")
	flowOverflow = counter("tracer_flow_overflow_total",
		"Flows of which the details were dropped for newer ones, as there were more than the agent keeps. They still count for their pairs.")
)

// journeys are what became of journeys, of the records of those that ended, and of pairs and flows for which there was no room.
var journeys = subject{
	families: []*metricFamily{journeysTotal, recordsLost, pairOverflow, flowOverflow},
	collect: func(from *input, to *scrape) {
		for outcome, n := range from.status.Journeys {
			to.add(journeysTotal, float64(n), outcome)
		}
		for kind, n := range from.status.Lost {
			to.add(recordsLost, float64(n), kind)
		}
		to.add(pairOverflow, float64(from.snapshot.PairOverflow))
		to.add(flowOverflow, float64(from.snapshot.FlowOverflow))
	},
}
