package metrics

var pathDelay = histogramFamily("tracer_path_delay_seconds",
	"Time that a pair's packets spent on this node, from the first hook to the last.",
	append([]string{"direction"}, pairLabels...)...)

func (a *pairAccumulator) collectPathDelays(to *scrape, name pairName, classic bool) {
	for direction, delay := range a.paths {
		to.histogram(pathDelay, delay, classic, name.labels(string(direction))...)
	}
}
