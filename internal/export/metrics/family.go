package metrics

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"tracer/internal/hist"
)

// metricFamily is all metrics of one name: one for each combination of its labels' values.
type metricFamily struct {
	desc   *prometheus.Desc
	labels int
	kind   prometheus.ValueType // of a counter or gauge
}

func newFamily(kind prometheus.ValueType, name, help string, labels []string) *metricFamily {
	return &metricFamily{desc: prometheus.NewDesc(name, help, labels, nil), labels: len(labels), kind: kind}
}

func counter(name, help string, labels ...string) *metricFamily {
	return newFamily(prometheus.CounterValue, name, help, labels)
}

func gauge(name, help string, labels ...string) *metricFamily {
	return newFamily(prometheus.GaugeValue, name, help, labels)
}

func histogramFamily(name, help string, labels ...string) *metricFamily {
	return newFamily(prometheus.UntypedValue, name, help, labels)
}

// maxLabels is how many labels a counter or gauge has at most.
const maxLabels = 5

// scrape is the metrics of one scrape, by family. No two of a family have the same labels: Prometheus refuses that.
type scrape struct {
	values     map[*metricFamily]map[[maxLabels]string]float64
	histograms map[*metricFamily][]prometheus.Metric
}

func newScrape() *scrape {
	return &scrape{
		values:     make(map[*metricFamily]map[[maxLabels]string]float64),
		histograms: make(map[*metricFamily][]prometheus.Metric),
	}
}

// of returns the values of a counter or gauge.
func (s *scrape) of(f *metricFamily) map[[maxLabels]string]float64 {
	if s.values[f] == nil {
		s.values[f] = make(map[[maxLabels]string]float64)
	}
	return s.values[f]
}

// add adds to a value, which begins at 0.
func (s *scrape) add(f *metricFamily, v float64, labels ...string) { s.of(f)[key(labels)] += v }

// max sets a value, unless it is greater already.
func (s *scrape) max(f *metricFamily, v float64, labels ...string) {
	values, k := s.of(f), key(labels)
	if old, ok := values[k]; !ok || v > old {
		values[k] = v
	}
}

// min sets a value, unless it is less already.
func (s *scrape) min(f *metricFamily, v float64, labels ...string) {
	values, k := s.of(f), key(labels)
	if old, ok := values[k]; !ok || v < old {
		values[k] = v
	}
}

// histogram copies h. The caller sees to it that its labels are clean, and not there yet.
func (s *scrape) histogram(f *metricFamily, h *hist.Histogram, classic bool, labels ...string) {
	s.histograms[f] = append(s.histograms[f], newHistogram(f.desc, h, classic, labels...))
}

// metrics appends those of a family.
func (s *scrape) metrics(to []prometheus.Metric, f *metricFamily) []prometheus.Metric {
	to = append(to, s.histograms[f]...)
	for k, v := range s.values[f] {
		to = append(to, prometheus.MustNewConstMetric(f.desc, f.kind, v, k[:f.labels]...))
	}
	return to
}

func key(labels []string) (k [maxLabels]string) {
	for i, l := range labels {
		k[i] = clean(l)
	}
	return k
}

// clean makes a label's value of a name: Linux allows device names that are not UTF-8, Prometheus refuses them.
func clean(name string) string { return strings.ToValidUTF8(name, "�") }

// bit is a condition as a gauge has it.
func bit(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
