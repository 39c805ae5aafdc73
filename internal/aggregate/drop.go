package aggregate

import (
	"tracer/internal/journey"
	"tracer/internal/record"
)

// maxDropKeys bounds the DropKeys kept. Drops of further keys are counted under otherReason and no location.
const (
	maxDropKeys = 1024
	otherReason = "_other"
)

// dropKey says where and why a packet was dropped.
func dropKey(rec *record.Record, path *journey.Path) DropKey {
	key := DropKey{
		StageKey: StageKey{Stage: path.Where.Stage, Direction: path.Direction},
		Reason:   rec.Reason,
		Location: rec.Location,
		Loss:     path.Loss(),
	}
	if path.Where.Device != nil {
		key.Device = path.Where.Device.Label
	}
	if key.Reason == "" {
		key.Reason = journey.NotSpecified
	}
	return key
}

// add counts one dropped sk_buff, which counts for n.
func (d *DropCount) add(rec *record.Record, n uint64) {
	d.Packets += n
	d.Segments += n * uint64(max(1, rec.Segments))
	if rec.SYN {
		d.SYNs += n
	}
}

// deviceDrop returns the count of all pairs together.
func (a *Aggregator) deviceDrop(key DropKey) *DropCount {
	d := a.drops[key]
	if d == nil {
		if len(a.drops) >= maxDropKeys && key.Reason != otherReason {
			key.Reason, key.Location = otherReason, ""
			return a.deviceDrop(key)
		}
		d = &DropCount{DropKey: key}
		a.drops[key] = d
	}
	return d
}

// Freed is how many packets the kernel has freed since the start that were lost, and how many that were not.
func (a *Aggregator) Freed() (lost, noLoss uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for key, d := range a.drops {
		if key.Loss {
			lost += d.Packets
		} else {
			noLoss += d.Packets
		}
	}
	return lost, noLoss
}

// pairDrop is a pair's count and that of all pairs.
type pairDrop struct {
	DropCount
	all *DropCount
}

func (d *pairDrop) add(rec *record.Record, n uint64) {
	d.DropCount.add(rec, n)
	d.all.add(rec, n)
}

// pairDrop returns a pair's count of drops.
func (a *Aggregator) pairDrop(p *pair, key DropKey) *pairDrop {
	for _, d := range p.drops {
		if d.DropKey == key {
			return d
		}
	}
	all := a.deviceDrop(key)
	if all.DropKey != key { // there was no room for it
		return a.pairDrop(p, all.DropKey)
	}
	d := &pairDrop{DropCount: DropCount{DropKey: key}, all: all}
	p.drops = append(p.drops, d)
	return d
}
