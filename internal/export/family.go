package export

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
)

// maxLabels is how many labels a simple metric has at most.
const maxLabels = 5

// family is a counter or gauge with a value for each combination of labels, of which there so is never a second one.
type family struct {
	desc   *prometheus.Desc
	kind   prometheus.ValueType
	labels int
	values map[[maxLabels]string]float64
}

func newFamily(kind prometheus.ValueType, name, help string, labels ...string) family {
	return family{desc: prometheus.NewDesc(name, help, labels, nil), kind: kind, labels: len(labels)}
}

// empty returns the family without values.
func (f family) empty() family {
	f.values = make(map[[maxLabels]string]float64)
	return f
}

func (f family) add(v float64, labels ...string) { f.values[key(labels)] += v }

func (f family) max(v float64, labels ...string) {
	k := key(labels)
	if old, ok := f.values[k]; !ok || v > old {
		f.values[k] = v
	}
}

func (f family) min(v float64, labels ...string) {
	k := key(labels)
	if old, ok := f.values[k]; !ok || v < old {
		f.values[k] = v
	}
}

// metrics appends one for each value.
func (f family) metrics(to []prometheus.Metric) []prometheus.Metric {
	for k, v := range f.values {
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

// clean makes a label's value of a name: Linux allows device names that are no UTF-8, Prometheus refuses them.
func clean(name string) string { return strings.ToValidUTF8(name, "�") }
