package agent

import (
	"context"
	"fmt"
	"time"

	"tracer/internal/journey"
	"tracer/internal/pairpath"
)

// pathDevicesEvery is how often the devices are read anew while a path is watched.
const pathDevicesEvery = time.Second

// Path watches the packets between two sets of addresses for the query's window, and then those that have not come out. Packets are seen as
// late as their records are: with names that are waited for, some seconds. Meanwhile every packet is sampled, up to the limit of records.
func (a *Agent) Path(ctx context.Context, q pairpath.Query) (pairpath.Half, error) {
	a.sampling.watched.Add(1)
	defer a.sampling.watched.Add(-1)
	recorder := pairpath.NewRecorder(q)
	began := time.Now()
	watching, cancel := context.WithTimeout(ctx, q.Window)
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
	return recorder.Half(time.Since(began), missed(), a.baseline.p50s()), nil
}
