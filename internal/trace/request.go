package trace

import (
	"cmp"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// Request is what became of a request, as the device of a pod of this node shows it. Its time is that of the Trace.
type Request struct {
	// Outcome is "answered", "connected" (a SYN, by its SYN-ACK), "given-up" (by its client), "closed" (by the end that was asked), "waiting" (for a
	// minute) or "connecting" (likewise, a SYN).
	Outcome  string `json:"outcome"`
	Side     string `json:"side"`     // "client" at the device of the pod that asked, "server" at that of the pod that was asked
	Repeated bool   `json:"repeated"` // a packet of it was sent again
}

var outcomes = map[record.Outcome]string{
	record.Answered: "answered", record.Connected: "connected", record.GivenUp: "given-up", record.HalfClosed: "given-up", record.Closed: "closed",
	record.TimedOut: "waiting", record.ConnectTimeout: "connecting",
}

// words are the outcome in a sentence.
var words = map[string]string{
	"answered": "answered", "connected": "connected", "given-up": "given up by its client", "closed": "closed by the end that was asked",
	"waiting": "waits for its answer", "connecting": "waits to be connected",
}

// answered tells whether the outcome is an answer, and no want of one.
func (r *Request) answered() bool { return r.Outcome == "answered" || r.Outcome == "connected" }

// said says what became of it, and at which device that was seen.
func (r *Request) said(device string) string {
	text := words[r.Outcome] + ", at the " + r.Side + "'s device " + device
	if r.Repeated {
		text += "; a packet of it was sent again"
	}
	return text
}

// isRequest tells whether a record is of a request that is told of: once, and not of a connection that is left out.
func isRequest(rec *record.Record) bool {
	return rec.Kind == record.Requested && !rec.Request.Told && outcomes[rec.Request.Outcome] != ""
}

// newRequest makes the Trace of a request, from who asked to who was asked.
func newRequest(rec *record.Record, devices *journey.Devices, names aggregate.Namer, zero time.Time) (Trace, error) {
	device := devices.Find(rec.Hops[0].Ifindex)
	if device == nil {
		return Trace{}, journey.ErrDevice
	}
	asked, side, direction, hook := rec.First, "client", journey.Out, record.Ingress
	if !rec.Request.Client {
		asked.Source, asked.Destination = asked.Destination, asked.Source
		side, direction, hook = "server", journey.In, record.Egress
	}
	start := rec.Start()
	t := Trace{
		Time: zero.Add(start).UTC(), Kind: "request", Direction: direction,
		Src: names.Lookup(asked.Source.Addr(), start), Dst: names.Lookup(asked.Destination.Addr(), start),
		First: newFlow(&asked), Last: newFlow(&asked),
		Hooks:  []Hook{{Hook: hook.String(), Device: device.Name, Role: device.Role, Ifindex: rec.Hops[0].Ifindex}},
		Stages: []Stage{}, TotalSeconds: rec.Request.Took.Seconds(), Weight: max(1, rec.Weight),
		Request: &Request{outcomes[rec.Request.Outcome], side, rec.Request.Repeated},
	}
	if t.Dst.Service != "" {
		t.Service = qualified(t.Dst.Namespace, t.Dst.Service)
	}
	t.Src.Workload = cmp.Or(t.Src.Workload, aggregate.UnknownWorkload)
	t.Dst.Workload = cmp.Or(t.Dst.Workload, aggregate.UnknownWorkload)
	return t, nil
}

// matchRequest tells whether a record is of a request that meets all that is set but for its ends and its protocol.
func (f *Filter) matchRequest(rec *record.Record, devices *journey.Devices) bool {
	if !isRequest(rec) || f.Stage != (StageFilter{}) {
		return false
	}
	unanswered := rec.Request.Outcome != record.Answered && rec.Request.Outcome != record.Connected
	return (!f.DropsOnly || unanswered) && (rec.Request.Took >= f.SlowerThan || f.OrLost && unanswered) && (f.Device == "" || passes(rec, devices, f.Device))
}
