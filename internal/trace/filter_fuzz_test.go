package trace

import (
	"net/url"
	"testing"

	"tracer/internal/journey"
	"tracer/internal/record"
	"tracer/internal/trace/tracetest"
)

// FuzzQuery reads filters: what is taken means the same when it is written and read again.
func FuzzQuery(f *testing.F) {
	f.Add("pod=default/web-1&peer=10.0.0.1&workload=api&port=65535&proto=89&device=tunl0&stage=queue%40tunl0%3E1.5ms&slower_than=1.5ms&drops=true&or_lost=true&headers=true")
	f.Add("stage=queue+%40tunl0+%3E+1s&proto=TCP")
	f.Add("pod=::1%25eth0&drops=T")
	rec, devices := tracetest.Request(record.Dropped), journey.NewDevices(testDevices())
	f.Fuzz(func(t *testing.T, text string) {
		query, err := url.ParseQuery(text)
		if err != nil {
			return
		}
		filter, err := ParseQuery(query)
		if err != nil {
			return
		}
		again, err := ParseQuery(filter.Values())
		if err != nil || again != filter {
			t.Errorf("%q: %+v became %+v, %v", text, filter, again, err)
		}
		_ = filter.String()
		if _, err := filter.Matcher(cluster).Match(&rec, devices); err != nil {
			t.Error(err)
		}
	})
}
