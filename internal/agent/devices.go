package agent

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"tracer/internal/device"
	"tracer/internal/loader"
	"tracer/internal/netdev"
)

// watchDevices attaches to devices as they come, and leaves those that go.
func (a *Agent) watchDevices(ctx context.Context) error {
	return a.watcher.Run(ctx, func(s device.State) {
		if !s.Since.IsZero() {
			a.lateNames.SetDevices(a.traced(s), loader.Monotonic()-time.Since(s.Since))
		}
		a.failures.devices.Done(a.setDevices())
	})
}

// setDevices tells of the devices as the watcher knows them now.
func (a *Agent) setDevices() error {
	a.devicesSet.Lock()
	defer a.devicesSet.Unlock()
	s := a.watcher.State()
	traced := a.traced(s)
	a.counts.SetDevices(traced)
	a.missent.setDevices(traced)
	a.own.setNode(s.Addresses, traced, loader.Monotonic())
	// Before packets come, which are told apart by them.
	err := errors.Join(a.tellOwnAddresses(), a.loader.SetDevices(traced, s.Addresses))
	sameSight := func(x, y netdev.Device) bool { return x.EgressUnseen == y.EgressUnseen }
	if hooked := a.traced(s); !slices.EqualFunc(traced, hooked, sameSight) {
		a.counts.SetDevices(hooked)
	}
	return err
}

// traced are the devices of a state that are to be traced.
func (a *Agent) traced(s device.State) []netdev.Device {
	// That a pattern matches nothing is an error at the start alone: its device may be away.
	devices, _ := device.Match(a.options.Devices, s.Devices)
	for i := range devices {
		d := &devices[i]
		d.EgressUnseen = d.Root.Queues() && d.Role.WhyUnhooked() == "" && !a.loader.SeesEgress(d.Name, d.Index)
	}
	return a.podEnds.of(devices)
}

// Devices are those traced, with their qdiscs' counters as read now; as read last, where that fails.
func (a *Agent) Devices() []netdev.Device {
	state, err := a.watcher.Refresh()
	if err != nil {
		state = a.watcher.State()
	}
	return a.podEnds.read(a.withPods(a.traced(state)))
}

// KnownDevices are the devices traced, with their counters as read last.
func (a *Agent) KnownDevices() []netdev.Device { return a.traced(a.watcher.State()) }

// Addresses are this namespace's own.
func (a *Agent) Addresses() []netip.Addr { return a.watcher.State().Addresses }
