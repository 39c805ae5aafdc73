package trace

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"tracer/internal/journey"
	"tracer/internal/record"
	"tracer/internal/trace/tracetest"
)

// TestRequest names who asked and who was asked, whichever end's device shows it.
func TestRequest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		client  bool
		outcome record.Outcome
		again   bool
		text    string
	}{
		{true, record.Answered, false, "  tcp 10.244.1.2:4000 → 10.244.2.3:8080, answered, at the client's device cali1\n\n"},
		{false, record.Answered, true, "  tcp 10.244.1.2:4000 → 10.244.2.3:8080, answered, at the server's device cali1; a packet of it was sent again\n\n"},
		{true, record.Connected, false, "  tcp 10.244.1.2:4000 → 10.244.2.3:8080, connected, at the client's device cali1\n\n"},
		{false, record.HalfClosed, false, "  tcp 10.244.1.2:4000 → 10.244.2.3:8080, given up by its client, at the server's device cali1\n\n"},
		{true, record.Closed, false, "  tcp 10.244.1.2:4000 → 10.244.2.3:8080, closed by the end that was asked, at the client's device cali1\n\n"},
	} {
		rec := tracetest.Asked(test.client, test.outcome)
		rec.Request.Repeated = test.again
		got := traceOf(t, rec)
		if got.Kind != "request" || got.Src.Workload != "web" || got.Dst.Workload != "api" || got.TotalSeconds != 0.02 || got.Weight != 4 ||
			(got.Direction == journey.Out) != test.client || !got.Time.Equal(noon.Add(time.Minute-20*time.Millisecond)) {
			t.Errorf("%+v", got)
		}
		var out bytes.Buffer
		if err := got.WriteText(&out, false); err != nil {
			t.Fatal(err)
		}
		head, text, _ := bytes.Cut(out.Bytes(), []byte("\n"))
		if string(text) != test.text || !bytes.HasSuffix(head, []byte("default/web → default/api  20ms")) {
			t.Errorf("%q and %q, want %q", head, text, test.text)
		}
	}
	gone := tracetest.Asked(true, record.Answered)
	gone.Hops[0].Ifindex = 99
	if _, err := New(&gone, journey.NewDevices(testDevices()), cluster, noon); !errors.Is(err, journey.ErrDevice) {
		t.Errorf("a device that is not known: %v", err)
	}
}

// TestMatchRequests takes requests where they are asked for, and then no journeys.
func TestMatchRequests(t *testing.T) {
	t.Parallel()
	answered, lost, served := tracetest.Asked(true, record.Answered), tracetest.Asked(true, record.TimedOut), tracetest.Asked(false, record.Answered)
	told, out, packet := tracetest.Asked(true, record.GivenUp), tracetest.Asked(true, record.LeftOut), tracetest.Request(record.Finished)
	told.Request.Told = true
	for _, test := range []struct {
		filter Filter
		rec    *record.Record
		want   bool
	}{
		{Filter{}, &answered, false},
		{Filter{Requests: true}, &packet, false},
		{Filter{Requests: true}, &answered, true},
		{Filter{Requests: true}, &served, true},
		{Filter{Requests: true}, &told, false},
		{Filter{Requests: true}, &out, false},
		{Filter{Requests: true, Pod: "web", Peer: "api"}, &served, true},
		{Filter{Requests: true, Pod: "db"}, &answered, false},
		{Filter{Requests: true, Port: 8080, Protocol: record.ProtocolTCP, Device: "pod"}, &answered, true},
		{Filter{Requests: true, Protocol: record.ProtocolUDP}, &answered, false},
		{Filter{Requests: true, Device: "tunl0"}, &answered, false},
		{Filter{Requests: true, SlowerThan: 20 * time.Millisecond}, &answered, true},
		{Filter{Requests: true, SlowerThan: 21 * time.Millisecond}, &answered, false},
		{Filter{Requests: true, SlowerThan: time.Second, OrLost: true}, &lost, true},
		{Filter{Requests: true, DropsOnly: true}, &answered, false},
		{Filter{Requests: true, DropsOnly: true}, &lost, true},
		{Filter{Requests: true, Stage: StageFilter{Stage: journey.Queue}}, &answered, false},
	} {
		got, err := test.filter.Matcher(cluster).Match(test.rec, journey.NewDevices(testDevices()))
		if err != nil || got != test.want {
			t.Errorf("%s: %v, %v; want %v", test.filter, got, err, test.want)
		}
	}
}
