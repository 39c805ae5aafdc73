package loader

import (
	"fmt"
	"maps"
	"slices"

	"tracer/internal/bpfobj"
)

// Counters are the programs' own counts since the start.
type Counters struct {
	Started   uint64 `json:"started"`   // journeys begun
	Unsampled uint64 `json:"unsampled"` // packets that were not chosen
	Finished  uint64 `json:"finished"`  // journeys that reached their last hook
	Split     uint64 `json:"split"`     // journeys that ended in a software GSO split
	Dropped   uint64 `json:"dropped"`   // drops seen

	Collisions uint64 `json:"collisions"` // packets not followed for want of a slot
	Expired    uint64 `json:"expired"`    // slots given up for their age
	Mismatches uint64 `json:"mismatches"` // slots given up for another packet's fingerprint
	Torn       uint64 `json:"torn"`       // slots written by two at once
	Orphans    uint64 `json:"orphans"`    // packets at an egress whose begin was not seen

	// Vanished are journeys without an end, by the hook that saw them last: "ingress" are mostly those to the
	// node's own sockets.
	Vanished map[string]uint64 `json:"vanished"`

	Malformed uint64 `json:"malformed"` // truncated or absurd headers
	TooDeep   uint64 `json:"too_deep"`  // more tunnels in tunnels than are followed
	Requeued  uint64 `json:"requeued"`  // packets that a qdisc handed out again

	// Lost are records that did not fit into the ring buffer, by kind.
	Lost map[string]uint64 `json:"lost"`
	// Undecoded are records that were read and not understood.
	Undecoded uint64 `json:"undecoded"`
	// TornScans are slots that changed while the table was read.
	TornScans uint64 `json:"torn_scans"`
}

// Counters reads the counts of all CPUs.
func (l *Loader) Counters() (Counters, error) {
	var cpus []bpfobj.TracerCounters
	if err := l.objects.Counts.Lookup(uint32(0), &cpus); err != nil {
		return Counters{}, fmt.Errorf("read the programs' counters: %w", err)
	}
	var sum [bpfobj.TracerCounterCOUNT_MAX]uint64
	for _, c := range cpus {
		for i, n := range c.Count {
			sum[i] += n
		}
	}
	return Counters{
		Started:    sum[bpfobj.TracerCounterCOUNT_STARTED],
		Unsampled:  sum[bpfobj.TracerCounterCOUNT_UNSAMPLED],
		Finished:   sum[bpfobj.TracerCounterCOUNT_FINISHED],
		Split:      sum[bpfobj.TracerCounterCOUNT_SPLIT],
		Dropped:    sum[bpfobj.TracerCounterCOUNT_DROPPED],
		Collisions: sum[bpfobj.TracerCounterCOUNT_COLLISION],
		Expired:    sum[bpfobj.TracerCounterCOUNT_EXPIRED],
		Mismatches: sum[bpfobj.TracerCounterCOUNT_MISMATCH],
		Torn:       sum[bpfobj.TracerCounterCOUNT_TORN],
		Orphans:    sum[bpfobj.TracerCounterCOUNT_ORPHAN],
		Vanished: map[string]uint64{
			"ingress": sum[bpfobj.TracerCounterCOUNT_VANISHED_INGRESS],
			"egress":  sum[bpfobj.TracerCounterCOUNT_VANISHED_EGRESS],
			"dequeue": sum[bpfobj.TracerCounterCOUNT_VANISHED_DEQUEUE],
			"xmit":    sum[bpfobj.TracerCounterCOUNT_VANISHED_XMIT],
		},
		Malformed: sum[bpfobj.TracerCounterCOUNT_MALFORMED],
		TooDeep:   sum[bpfobj.TracerCounterCOUNT_TOO_DEEP],
		Requeued:  sum[bpfobj.TracerCounterCOUNT_REQUEUED],
		Lost: map[string]uint64{
			"journey": sum[bpfobj.TracerCounterCOUNT_LOST_JOURNEY],
			"drop":    sum[bpfobj.TracerCounterCOUNT_LOST_DROP],
			"split":   sum[bpfobj.TracerCounterCOUNT_LOST_SPLIT],
			"tcp":     sum[bpfobj.TracerCounterCOUNT_LOST_TCP],
		},
		Undecoded: l.undecoded.Load(),
		TornScans: l.tornScans.Load(),
	}, nil
}

// ProgramStats is what the kernel says of one of our programs.
type ProgramStats struct {
	Program string `json:"program"`
	// Runs and Seconds stay 0 unless the kernel's BPF statistics are on (sysctl kernel.bpf_stats_enabled).
	Runs    uint64  `json:"runs"`
	Seconds float64 `json:"seconds"`
	// RecursionMisses are runs that the kernel left out because the program was already running on that CPU.
	RecursionMisses uint64 `json:"recursion_misses"`
}

// Programs reads the kernel's statistics of each program that is attached somewhere.
func (l *Loader) Programs() ([]ProgramStats, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var stats []ProgramStats
	for _, name := range l.attachedPrograms() {
		s, err := l.objects.hooks[name].Stats()
		if err != nil {
			return nil, fmt.Errorf("read statistics of program %s: %w", name, err)
		}
		stats = append(stats, ProgramStats{Program: name, Runs: s.RunCount, Seconds: s.Runtime.Seconds(),
			RecursionMisses: s.RecursionMisses})
	}
	return stats, nil
}

// attachedPrograms are those that are attached somewhere. The caller has l.mu.
func (l *Loader) attachedPrograms() []string {
	names := map[string]bool{}
	for h := range l.attached {
		names[h.Program] = true
	}
	return slices.Sorted(maps.Keys(names))
}
