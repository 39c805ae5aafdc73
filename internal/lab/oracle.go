package lab

import (
	"math"
	"slices"
	"time"

	"tracer/internal/lab/load"
)

// Delays are a distribution in seconds; all zero where Count is.
type Delays struct {
	Count int     `json:"count"`
	P50   float64 `json:"p50_seconds"`
	P99   float64 `json:"p99_seconds"`
	Max   float64 `json:"max_seconds"`
}

// OneWay is what the UDP packets of one direction met between the two pods, by the clock of the machine.
type OneWay struct {
	Sent     int `json:"sent"`
	Received int `json:"received"`
	Lost     int `json:"lost"`    // not received, though a later packet was
	Pending  int `json:"pending"` // not received, nor any later packet: in flight, or lost
	// LossRatio is the lost ones among those received or lost.
	LossRatio float64 `json:"loss_ratio"`
	Delay     Delays  `json:"delay"` // one way
}

// Report is what the application measured.
type Report struct {
	Request   OneWay `json:"request"`    // web to api
	Response  OneWay `json:"response"`   // api to web
	RoundTrip Delays `json:"round_trip"` // of UDP calls
	TCP       Delays `json:"tcp"`        // of whole calls over TCP
	Calls     Delays `json:"calls"`      // of both
}

// Oracle returns what happened to the packets and calls that were sent in [from, to), times by CLOCK_MONOTONIC.
// The newest of that is a tenth of a second old.
func (l *Lab) Oracle(from, to time.Duration) (Report, error) {
	return l.report(func(log string) ([]load.Entry, error) { return l.readLog(log, from) }, func([]load.Entry) (time.Duration, time.Duration) { return from, to })
}

// Recent returns what happened to the packets and calls that arrived within the window before now. Where delays
// are longer than the window, Oracle would report every packet as pending.
func (l *Lab) Recent(window time.Duration, now time.Duration) (Report, error) {
	read := func(log string) ([]load.Entry, error) { return l.readLog(log, now-window-load.CallTimeout) }
	return l.report(read, func(received []load.Entry) (time.Duration, time.Duration) {
		return arrivals(received, now-window, now)
	})
}

// arrivals returns the span of sending times of what was received in [from, to), or that span itself if nothing
// was.
func arrivals(received []load.Entry, from, to time.Duration) (first, last time.Duration) {
	first, last = math.MaxInt64, 0
	for _, e := range received {
		if e.Received >= from && e.Received < to {
			first, last = min(first, e.Sent), max(last, e.Sent+1)
		}
	}
	if last == 0 {
		return from, to
	}
	return first, last
}

// report reads the logs and evaluates each for the packets sent in a span of time, which span derives from what the receiver
// logged.
func (l *Lab) report(read func(log string) ([]load.Entry, error), span func([]load.Entry) (from, to time.Duration)) (Report, error) {
	var logs [5][]load.Entry
	// The receivers' first: what came after the senders' were read would have been sent by nobody.
	for i, name := range []string{load.Requests, load.Responses, load.Calls, load.RequestsSent, load.ResponsesSent} {
		entries, err := read(name)
		if err != nil {
			return Report{}, err
		}
		logs[i] = entries
	}
	requests, responses, calls, requestsSent, responsesSent := logs[0], logs[1], logs[2], logs[3], logs[4]
	if l.st.Machine != "" && l.st.here(l.st.pod(Web).Node) {
		responsesSent = requestsSent // the log is another machine's: here is known which calls were answered
	}
	var r Report
	from, to := span(requests)
	r.Request = oneWay(requestsSent, requests, from, to)
	from, to = span(responses)
	r.Response = oneWay(responsesSent, responses, from, to)
	took := func(e load.Entry) time.Duration { return max(e.RoundTrip, e.Delay) } // of a call over TCP there is no other delay
	answered := within(responses, from, to)
	r.RoundTrip = delays(answered, took)
	from, to = span(calls)
	whole := within(calls, from, to)
	r.TCP = delays(whole, took)
	r.Calls = delays(slices.Concat(answered, whole), took)
	return r, nil
}

// oneWay evaluates the packets sent in [from, to). The queues of the lab keep the order, so a packet is lost once a later one
// has been received. A receiver's log may be ahead of the sender's: what was received was sent.
func oneWay(sent, received []load.Entry, from, to time.Duration) OneWay {
	var newest uint64
	for _, e := range received {
		newest = max(newest, e.Seq)
	}
	received = within(received, from, to)
	came := make(map[uint64]bool, len(received))
	for _, e := range received {
		came[e.Seq] = true
	}
	w := OneWay{Received: len(came), Sent: len(came)}
	for _, e := range within(sent, from, to) {
		if came[e.Seq] {
			continue
		}
		w.Sent++
		if e.Seq < newest {
			w.Lost++
		} else {
			w.Pending++
		}
	}
	if known := w.Received + w.Lost; known > 0 {
		w.LossRatio = float64(w.Lost) / float64(known)
	}
	w.Delay = delays(received, func(e load.Entry) time.Duration { return e.Delay })
	return w
}

// within are the entries sent in [from, to).
func within(entries []load.Entry, from, to time.Duration) []load.Entry {
	var kept []load.Entry
	for _, e := range entries {
		if e.Sent >= from && e.Sent < to {
			kept = append(kept, e)
		}
	}
	return kept
}

func delays(entries []load.Entry, of func(load.Entry) time.Duration) Delays {
	if len(entries) == 0 {
		return Delays{}
	}
	all := make([]float64, len(entries))
	for i, e := range entries {
		all[i] = of(e).Seconds()
	}
	slices.Sort(all)
	// Nearest rank: a value that was really seen.
	rank := func(q float64) float64 { return all[int(math.Ceil(q*float64(len(all))))-1] }
	return Delays{Count: len(all), P50: rank(0.5), P99: rank(0.99), Max: all[len(all)-1]}
}
