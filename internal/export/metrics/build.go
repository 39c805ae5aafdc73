package metrics

import "runtime"

var buildInfo = gauge("tracer_build_info",
	"1, with the version of this program.", "version", "goversion")

var build = subject{
	families: []*metricFamily{buildInfo},
	collect: func(from *input, to *scrape) {
		to.add(buildInfo, 1, from.status.Version, runtime.Version())
	},
}
