package main

import "time"

// What Prometheus needs, by what its makers say; docs/scale.md has the sources.
const (
	bytesPerSeries = 3_000            // of memory, for each series in its head
	bytesPerSample = 2.0              // on disk, at most
	scrapeInterval = 30 * time.Second // as the chart's PodMonitor has it
	retention      = 15 * 24 * time.Hour
)

// prometheus is what one needs for so many series.
type prometheus struct {
	memory, disk, samples float64 // bytes, bytes, and samples a second
}

func prometheusFor(series float64) prometheus {
	p := prometheus{samples: series / scrapeInterval.Seconds(), memory: series * bytesPerSeries}
	p.disk = retention.Seconds() * p.samples * bytesPerSample
	return p
}
