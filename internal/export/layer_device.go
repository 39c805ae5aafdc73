package export

import (
	"github.com/prometheus/client_golang/prometheus"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/netdev"
)

// The metrics by device.
var (
	deviceStageDelay = prometheus.NewDesc("tracer_device_stage_delay_seconds",
		"Time that packets spent in a stage of their way through this node, all pods together.",
		[]string{"stage", "device", "direction"}, nil)
	drops = newFamily(prometheus.CounterValue, "tracer_drops_total",
		"Packets (sk_buffs) lost on this node, by the kernel's reason and the stage that they were lost in.",
		"reason", "stage", "device", "direction")
	inflightOldest = newFamily(prometheus.GaugeValue, "tracer_inflight_oldest_seconds",
		"Age, since its last hook, of the oldest packet that went into a device's stages and has not come out.",
		"device", "direction")
	qdiscInfo = newFamily(prometheus.GaugeValue, "tracer_qdisc_info",
		"1 for each kind of qdisc at the leaves of a device's tree.", "device", "kind")
	qdiscBacklog = newFamily(prometheus.GaugeValue, "tracer_qdisc_backlog_bytes",
		"Bytes that wait in a device's leaf qdiscs of that kind.", "device", "kind")
	qdiscDrops = newFamily(prometheus.CounterValue, "tracer_qdisc_drops_total",
		"Packets (sk_buffs) dropped by a device's leaf qdiscs of that kind, as they count themselves.", "device", "kind")
	qdiscOverlimits = newFamily(prometheus.CounterValue, "tracer_qdisc_overlimits_total",
		"Times that a device's leaf qdiscs of that kind held packets back for their rate.", "device", "kind")
)

// deviceMetrics appends the metrics by device.
func deviceMetrics(to []prometheus.Metric, s *aggregate.Snapshot, devices []netdev.Device, ledger *qdiscLedger) []prometheus.Metric {
	lost, oldest := drops.empty(), inflightOldest.empty()
	for key, delay := range byStage(s.Stages) {
		to = append(to, newHistogram(deviceStageDelay, delay, true, string(key.Stage), key.Device, string(key.Direction)))
		oldest.max(0, key.Device, string(key.Direction)) // so that it comes down again
	}
	for i := range s.Drops {
		if d := &s.Drops[i]; d.Loss {
			lost.add(float64(d.Packets), d.Reason, string(d.Stage), d.Device, string(d.Direction))
		}
	}
	for i := range s.InFlight {
		h := &s.InFlight[i]
		oldest.max(h.Oldest, h.Device, string(h.Direction))
	}
	to = oldest.metrics(lost.metrics(to))
	return qdiscMetrics(to, devices, ledger)
}

// byStage returns the histograms that have a value, one for each stage, also where names of devices differ in what
// no label can hold.
func byStage(stages []aggregate.StageDelay) map[aggregate.StageKey]*hist.Histogram {
	m := make(map[aggregate.StageKey]*hist.Histogram, len(stages))
	for i := range stages {
		s := &stages[i]
		if s.Delay.Count() == 0 {
			continue
		}
		k := cleanStage(s.StageKey)
		if other := m[k]; other != nil {
			both := other.Clone()
			both.Merge(&s.Delay)
			m[k] = &both
			continue
		}
		m[k] = &s.Delay
	}
	return m
}

func cleanStage(k aggregate.StageKey) aggregate.StageKey {
	k.Device = clean(k.Device)
	return k
}

func qdiscMetrics(to []prometheus.Metric, devices []netdev.Device, ledger *qdiscLedger) []prometheus.Metric {
	info, backlog := qdiscInfo.empty(), qdiscBacklog.empty()
	dropped, overlimits := qdiscDrops.empty(), qdiscOverlimits.empty()
	for i := range devices {
		label := devices[i].Role.Label(devices[i].Name)
		for q := range devices[i].Root.Leaves() {
			info.max(1, label, q.Kind)
			if q.Queues() {
				backlog.add(float64(q.BacklogBytes), label, q.Kind)
			}
		}
	}
	ledger.update(devices)
	for key, n := range ledger.totals() {
		dropped.add(float64(n.drops), key.device, key.kind)
		overlimits.add(float64(n.overlimits), key.device, key.kind)
	}
	for _, f := range []family{info, backlog, dropped, overlimits} {
		to = f.metrics(to)
	}
	return to
}
