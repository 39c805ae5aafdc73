package metrics

var inFlightOldest = gauge("tracer_inflight_oldest_seconds",
	"Age, since its last hook, of the oldest packet that went into a device's stages and has not come out.",
	"device", "direction")

var inFlight = subject{
	families: []*metricFamily{inFlightOldest},
	collect: func(from *input, to *scrape) {
		for i := range from.snapshot.Stages {
			if s := &from.snapshot.Stages[i]; s.Delay.Count() > 0 {
				to.max(inFlightOldest, 0, s.Device, string(s.Direction)) // so that it falls again
			}
		}
		for i := range from.snapshot.InFlight {
			f := &from.snapshot.InFlight[i]
			to.max(inFlightOldest, f.Oldest, f.Device, string(f.Direction))
		}
	},
}
