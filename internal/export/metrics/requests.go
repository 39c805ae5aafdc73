package metrics

import "tracer/internal/aggregate"

var (
	pairRequests = histogramFamily("tracer_request_seconds",
		"Time from the last packet of a pair's request to the first of its answer, as they pass the device of the pod that asks or is asked.",
		append([]string{"side"}, pairLabels...)...)
	pairConnects = histogramFamily("tracer_connect_seconds",
		"Time from the first SYN of a pair's TCP connection to the SYN-ACK, as they pass the device of the pod that opens it or accepts it.",
		append([]string{"side"}, pairLabels...)...)
	pairUnanswered = counter("tracer_requests_unanswered_total",
		"Requests of a pair that waited for longer than a minute, or whose connection was closed or reset before an answer.",
		append([]string{"side"}, pairLabels...)...)
	leftOut = counter("tracer_connections_left_out_total",
		"Connections of which no request is timed.", "reason")
	watchedOneIn = gauge("tracer_watched_one_in",
		"Of so many connections one has its requests timed; 1 if all have.")
)

// watchedConnections are of which connections requests are timed.
var watchedConnections = subject{
	families: []*metricFamily{leftOut, watchedOneIn},
	collect: func(from *input, to *scrape) {
		for reason, n := range from.status.LeftOut {
			to.add(leftOut, float64(n), reason)
		}
		to.add(watchedOneIn, float64(max(1, from.status.WatchedOneIn)))
	},
}

// requestSamples is the most that a pair's requests make.
func requestSamples(perHistogram int) int { return 2 * (2*perHistogram + 1) }

func (a *pairAccumulator) collectRequests(to *scrape, name pairName, classic bool) {
	if a.requests == nil {
		return
	}
	for _, side := range [...]struct {
		name string
		*aggregate.RequestSide
	}{{"client", &a.requests.Client}, {"server", &a.requests.Server}} {
		if side.Answered.Count() > 0 {
			to.histogram(pairRequests, &side.Answered, classic, name.labels(side.name)...)
		}
		if side.Connects.Count() > 0 {
			to.histogram(pairConnects, &side.Connects, classic, name.labels(side.name)...)
		}
		if side.Answered.Count()+side.Connects.Count()+side.Unanswered > 0 {
			to.add(pairUnanswered, float64(side.Unanswered), name.labels(side.name)...)
		}
	}
}
