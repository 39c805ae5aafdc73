package metrics

var (
	sampleRatio = gauge("tracer_sample_ratio",
		"Share of packets that were tracked since the start.")
	sampleOneIn = gauge("tracer_sample_one_in",
		"Of the packets beyond their flow's budget one in so many is tracked; 1 if all are.")
	sampleBudget = gauge("tracer_sample_flow_budget",
		"Packets of each flow that are always tracked, in each tenth of a second.")
)

var sampling = subject{
	families: []*metricFamily{sampleRatio, sampleOneIn, sampleBudget},
	collect: func(from *input, to *scrape) {
		to.add(sampleRatio, from.status.SampleRatio)
		to.add(sampleOneIn, float64(from.status.SampleOneIn))
		to.add(sampleBudget, float64(from.status.SampleBudget))
	},
}
