package lab

import (
	"testing"
	"time"

	"tracer/internal/lab/load"
)

func entry(seq uint64, sent, received time.Duration) load.Entry {
	e := load.Entry{Seq: seq, Sent: sent, Received: received}
	if received != 0 {
		e.Delay = received - sent
	}
	return e
}

func TestOneWay(t *testing.T) {
	t.Parallel()
	const s = time.Second
	var sent []load.Entry
	for i := range 10 {
		sent = append(sent, entry(uint64(i), time.Duration(i)*s, 0))
	}
	received := []load.Entry{entry(0, 0, 5*s), entry(1, 1*s, 6*s), entry(3, 3*s, 7*s), entry(6, 6*s, 9*s)}
	for name, test := range map[string]struct {
		sent     []load.Entry
		from, to time.Duration
		want     OneWay
	}{
		"all": {sent, 0, 10 * s, OneWay{Sent: 10, Received: 4, Lost: 3, Pending: 3, LossRatio: 3.0 / 7,
			Delay: Delays{Count: 4, P50: 4, P99: 5, Max: 5}}},
		"a window": {sent, 2 * s, 5 * s, OneWay{Sent: 3, Received: 1, Lost: 2, LossRatio: 2.0 / 3,
			Delay: Delays{Count: 1, P50: 4, P99: 4, Max: 4}}},
		"the newest":             {sent, 7 * s, 10 * s, OneWay{Sent: 3, Pending: 3}},
		"nothing":                {sent, 20 * s, 30 * s, OneWay{}},
		"sender's log is behind": {sent[:1], 0, 2 * s, OneWay{Sent: 2, Received: 2, Delay: Delays{Count: 2, P50: 5, P99: 5, Max: 5}}},
	} {
		if got := oneWay(test.sent, received, test.from, test.to); got != test.want {
			t.Errorf("%s: %+v, want %+v", name, got, test.want)
		}
	}
}

func TestArrivals(t *testing.T) {
	t.Parallel()
	received := []load.Entry{entry(1, 10, 100), entry(2, 20, 200), entry(3, 30, 210), entry(4, 40, 300)}
	if from, to := arrivals(received, 150, 250); from != 20 || to != 31 {
		t.Errorf("arrivals in [150, 250) were sent in [%d, %d), want [20, 31)", from, to)
	}
	if from, to := arrivals(received, 400, 500); from != 400 || to != 500 {
		t.Errorf("without arrivals the span is [%d, %d), want the window", from, to)
	}
}
