package metrics

var activeFinding = gauge("tracer_finding",
	"1 while this finding is active.", "cause", "stage", "device", "direction", "severity")

var findings = subject{
	families: []*metricFamily{activeFinding},
	collect: func(from *input, to *scrape) {
		for i := range from.findings.Findings {
			f := &from.findings.Findings[i].Finding
			to.max(activeFinding, 1, string(f.Cause), string(f.Stage), f.Device, string(f.Direction), string(f.Severity))
		}
	},
}
