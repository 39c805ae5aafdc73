package agent

import (
	"context"
	"fmt"
	"time"

	"tracer/internal/agent/latenames"
	"tracer/internal/diagnose"
	"tracer/internal/governor"
	"tracer/internal/journey"
	"tracer/internal/loader"
	"tracer/internal/pairpath"
	"tracer/internal/trace"
)

// pathDevicesEvery is how often the devices are read anew while a path is watched.
const pathDevicesEvery = time.Second

// Path watches the packets between two sets of addresses for the query's window, and then those that have not come out. Packets are seen as
// late as their records are: with names that are waited for, some seconds. Meanwhile every packet is sampled, up to the limit of records. Where
// that was not so before, only packets that came since are to be found again on the other node: of earlier ones each node followed others. What
// those are is known as late as records are.
func (a *Agent) Path(ctx context.Context, q pairpath.Query) (pairpath.Half, error) {
	a.sampling.watched.Add(1)
	defer a.sampling.watched.Add(-1)
	recorder := pairpath.NewRecorder(q)
	window := q.Window
	if a.Sampling().Sampling != governor.EveryPacket {
		recorder.CrossSince(a.sampling.untilLifted(ctx))
		if a.lateNames.Delays() {
			window += latenames.NameDelay
		}
	}
	began := time.Now()
	watching, cancel := context.WithTimeout(ctx, window)
	defer cancel()
	devices, read := journey.NewDevices(a.KnownDevices()), began
	records, missed := a.Subscribe(watching, recorder.Wants)
	for rec := range records {
		if now := time.Now(); now.Sub(read) > pathDevicesEvery {
			devices, read = devices.Updated(a.KnownDevices(), now), now
		}
		recorder.Add(&rec, devices)
	}
	if err := ctx.Err(); err != nil {
		return pairpath.Half{}, err
	}
	open, err := a.loader.OpenJourneys()
	if err != nil {
		return pairpath.Half{}, fmt.Errorf("read open journeys: %w", err)
	}
	for i := range open {
		recorder.Add(&open[i], devices)
	}
	half := recorder.Half(time.Since(began), missed(), a.baseline.p50s())
	if q.Journeys > 0 {
		half.Journeys = a.journeysOf(recorder.Journeys(), devices)
	}
	return half, nil
}

// journeysOf describes packets as people read them.
func (a *Agent) journeysOf(kept []pairpath.Kept, devices *journey.Devices) []pairpath.Journey {
	zero := time.Now().Add(-loader.Monotonic())
	all := []pairpath.Journey{}
	for i := range kept {
		k := &kept[i]
		t, err := trace.New(&k.Record, devices, a.options.Namer, zero)
		if err != nil {
			continue // its device is gone
		}
		if t.Drop != nil {
			cause, meaning := diagnose.CauseOfDrop(t.Drop.Key())
			t.Drop.Cause, t.Drop.Meaning = string(cause), meaning
		}
		all = append(all, pairpath.Journey{Way: k.Way, Side: k.Side, Packet: k.Packet, At: k.At, Trace: t})
	}
	return all
}
