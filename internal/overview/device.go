package overview

import (
	"fmt"
	"slices"

	"tracer/internal/diagnose"
	"tracer/internal/format"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

func (b *builder) device(d *netdev.Device) Device {
	o := Device{Name: d.Name, Role: d.Role, Kind: d.Kind, Up: d.Up, Root: d.Root, Unusual: []string{}}
	o.BacklogPackets, o.BacklogBytes = d.Root.BacklogPackets, d.Root.BacklogBytes
	if !d.Changed.IsZero() {
		o.Changed = &d.Changed
	}
	if i := slices.IndexFunc(b.Before, func(x netdev.Device) bool { return x.Index == d.Index }); i >= 0 {
		before := &b.Before[i]
		rate := func(now, then uint64) float64 { return float64(now-min(now, then)) / b.seconds }
		o.RxPackets, o.TxPackets = rate(d.Traffic.RxPackets, before.Traffic.RxPackets), rate(d.Traffic.TxPackets, before.Traffic.TxPackets)
		o.RxBits, o.TxBits = 8*rate(d.Traffic.RxBytes, before.Traffic.RxBytes), 8*rate(d.Traffic.TxBytes, before.Traffic.TxBytes)
		o.DropsPerSecond = rate(d.Traffic.RxDrops, before.Traffic.RxDrops) + rate(d.Traffic.TxDrops, before.Traffic.TxDrops)
		if before.Root.Kind == d.Root.Kind && before.Root.Handle == d.Root.Handle {
			o.DropsPerSecond += rate(d.Root.Drops, before.Root.Drops)
		}
	}
	if d.Root.Queues() {
		b.queue(d, &o)
	}
	b.mark(d, &o)
	return o
}

// queue fills in how long packets wait.
func (b *builder) queue(d *netdev.Device, o *Device) {
	at := Place{journey.Queue, d.Role.Label(d.Name)}
	o.Usual = b.usualOf(at)
	o.Baseline = b.baselineOf(at, journey.Out, journey.In, journey.Local)
	var delay hist.Histogram
	for i := range b.Window.Stages {
		if s := &b.Window.Stages[i]; (Place{s.Stage, s.Device}) == at {
			delay.Merge(&s.Delay)
		}
	}
	o.Queue = delayOf(&delay)
	for i := range b.held {
		if h := &b.held[i]; (Place{h.Stage, h.Device}) == at {
			o.Held += h.Packets
			o.OldestSeconds = max(o.OldestSeconds, h.Oldest)
		}
	}
}

// mark says what is not as it should be.
func (b *builder) mark(d *netdev.Device, o *Device) {
	add := func(format string, args ...any) { o.Unusual = append(o.Unusual, fmt.Sprintf(format, args...)) }
	if normal := diagnose.DefaultQdisc(d); normal != "" && d.Root.Kind != "" && d.Root.Kind != normal {
		add("root qdisc is %s, the default here is %s", d.Root.Kind, normal)
	}
	if o.Usual != nil && o.Queue != nil && o.Queue.P50 > *o.Usual {
		add("packets wait %s (p50), usual is up to %s", format.Seconds(o.Queue.P50), format.Seconds(*o.Usual))
	}
	if o.Usual != nil && o.OldestSeconds > max(10**o.Usual, 0.1) {
		add("%.0f packets are held, the oldest for %s", o.Held, format.Seconds(o.OldestSeconds))
	}
	if o.DropsPerSecond > 0 {
		add("drops %s packets/s", number(o.DropsPerSecond))
	}
	if !d.Up && d.Role.LeadsOut() {
		add("is down")
	}
}

// number writes a rate with a digit behind the point where that tells something.
func number(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
