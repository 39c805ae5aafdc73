package overview

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/format"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// Device is one network device: its queue and the traffic through it.
type Device struct {
	Name     string       `json:"name"`
	Role     netdev.Role  `json:"role"`
	Kind     string       `json:"kind"`
	Workload string       `json:"workload,omitempty"` // of the pod behind it, as namespace/name, if that is known
	Up       bool         `json:"up"`
	Root     netdev.Qdisc `json:"root_qdisc"`
	Changed  *time.Time   `json:"qdisc_changed"`
	// RatesUnknown tells that the device was not there at the window's start: its rates are 0, and it has no limits.
	RatesUnknown bool    `json:"rates_unknown,omitempty"`
	RxPackets    float64 `json:"rx_packets_per_second"`
	TxPackets    float64 `json:"tx_packets_per_second"`
	RxBits       float64 `json:"rx_bits_per_second"`
	TxBits       float64 `json:"tx_bits_per_second"`
	// Queue is the delay in its queue; null if there is none or no packet left it. All pods' devices have one together.
	Queue          *Delay   `json:"queue"`
	WarnAbove      *float64 `json:"warn_above_seconds"` // the threshold of its p50; null if there is no queue
	Baseline       *float64 `json:"baseline_p50_seconds"`
	InFlight       float64  `json:"held"`
	OldestSeconds  float64  `json:"oldest_seconds"`
	BacklogPackets uint64   `json:"backlog_packets"`
	BacklogBytes   uint64   `json:"backlog_bytes"`
	// DropsPerSecond is the qdisc's own count and that of the device.
	DropsPerSecond float64          `json:"drops_per_second"`
	Limits         []Limit          `json:"limits"`   // the one used most first
	Causes         []diagnose.Cause `json:"findings"` // of the findings there, critical ones and warnings
	Unusual        []string         `json:"unusual"`  // what is not as it should be
}

// devices are all of them: overlays and uplinks first, pods' last.
func (b *builder) devices() []Device {
	order := []netdev.Role{netdev.RoleOverlay, netdev.RoleUplink, netdev.RoleBridge, netdev.RoleIFB, netdev.RoleOther, netdev.RolePod}
	out := make([]Device, 0, len(b.Devices))
	for i := range b.Devices {
		out = append(out, b.device(&b.Devices[i]))
	}
	slices.SortStableFunc(out, func(x, y Device) int {
		return cmp.Or(cmp.Compare(slices.Index(order, x.Role), slices.Index(order, y.Role)), cmp.Compare(x.Name, y.Name))
	})
	return out
}

// device is one of the window's devices.
func (b *builder) device(d *netdev.Device) Device {
	o := Device{
		Name: d.Name, Role: d.Role, Kind: d.Kind, Workload: b.Workloads[d.Index], Up: d.Up, Root: d.Root,
		Limits: []Limit{}, Causes: []diagnose.Cause{}, Unusual: []string{},
	}
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
		if before.Root.Is(d.Root) {
			o.DropsPerSecond += rate(d.Root.Drops, before.Root.Drops)
		}
		o.Limits = b.limits(d, before)
	} else {
		o.RatesUnknown = true
	}
	if d.Root.Queues() {
		b.queue(d, &o)
	}
	for i := range b.Report.Findings {
		if f := &b.Report.Findings[i]; f.Severity != diagnose.Info && isAt(f, &o) && !slices.Contains(o.Causes, f.Cause) {
			o.Causes = append(o.Causes, f.Cause)
		}
	}
	b.markUnusual(d, &o)
	return o
}

// queue fills in how long packets are in the queue.
func (b *builder) queue(d *netdev.Device, o *Device) {
	at := Place{journey.Queue, d.Role.Label(d.Name)}
	o.WarnAbove = b.warnAboveOf(at)
	o.Baseline = b.baselineOf(at, journey.Out, journey.In, journey.Local)
	var delay hist.Histogram
	for i := range b.Window.Stages {
		if s := &b.Window.Stages[i]; (Place{s.Stage, s.Device}) == at {
			delay.Merge(&s.Delay)
		}
	}
	o.Queue = newDelay(&delay)
	for i := range b.inFlight {
		if h := &b.inFlight[i]; (Place{h.Stage, h.Device}) == at {
			o.InFlight += h.Packets
			o.OldestSeconds = max(o.OldestSeconds, h.Oldest)
		}
	}
}

// markUnusual says what is not as it should be.
func (b *builder) markUnusual(d *netdev.Device, o *Device) {
	add := func(text string, args ...any) { o.Unusual = append(o.Unusual, fmt.Sprintf(text, args...)) }
	if normal := diagnose.DefaultQdisc(d); normal != "" && d.Root.Kind != "" && d.Root.Kind != normal {
		add("root qdisc is %s, the default here is %s", d.Root.Kind, normal)
	}
	if e := d.PodEnd; e != nil && e.Queues && e.Root.Queues() {
		add("the pod itself has %s on its own %s", e.Root.Brief(), e.Name)
	}
	if o.WarnAbove != nil && o.Queue != nil && o.Queue.P50 > *o.WarnAbove {
		add("packets wait %s (p50), above the threshold of %s", format.Seconds(o.Queue.P50), format.Seconds(*o.WarnAbove))
	}
	if o.WarnAbove != nil && o.OldestSeconds > oldestAbove(*o.WarnAbove) {
		add("%s in flight, the oldest for %s", format.Counted(fmt.Sprintf("%.0f", o.InFlight), "packet"), format.Seconds(o.OldestSeconds))
	}
	if o.DropsPerSecond > 0 {
		add("drops %s packets/s", number(o.DropsPerSecond))
	}
	if !d.Up && d.Role.LeadsOut() {
		add("is down")
	}
	for i := range b.Report.Coverage {
		if c := &b.Report.Coverage[i]; c.Device == d.Role.Label(d.Name) && c.Low() {
			add("%s", c.Sentence())
		}
	}
}

// number writes a rate with a digit behind the point where that tells something.
func number(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}
