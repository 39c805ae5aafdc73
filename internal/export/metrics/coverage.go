package metrics

var coverageRatio = gauge("tracer_coverage_ratio",
	"Share of the packets at a device, of all pods' devices together, that were seen to their end; absent where too few passed to tell.",
	"device", "direction")

var coverage = subject{
	families: []*metricFamily{coverageRatio},
	collect: func(from *input, to *scrape) {
		for i := range from.findings.Coverage {
			if c := &from.findings.Coverage[i]; c.Ratio != nil && c.Device != "" {
				to.min(coverageRatio, *c.Ratio, c.Device, string(c.Direction))
			}
		}
	},
}
