package loader

import (
	"fmt"
	"maps"
	"slices"

	"tracer/internal/bpfobj"
)

// Counters are the programs' own counts since the start.
type Counters struct {
	Started   uint64 // journeys that began
	Unsampled uint64 // packets that were not sampled
	Finished  uint64 // journeys that reached their last hook
	Split     uint64 // journeys that ended in a software GSO split
	Dropped   uint64 // drops seen
	Cloned    uint64 // packets that were consumed between two devices, of which a copy may go on

	TableFull       uint64 // sampled packets without a slot: all of their bucket were live
	EvictedStale    uint64 // slots that were too old
	EvictedMismatch uint64 // slots that held another packet's fingerprint
	Torn            uint64 // slots written by two at once
	NoIngress       uint64 // forwarded packets at an egress whose ingress was missed

	// Unfinished are journeys without an end, by the hook that saw them last: "ingress" are mostly those to the
	// node's own sockets.
	Unfinished map[string]uint64

	Malformed uint64 // truncated or absurd headers
	TooDeep   uint64 // more tunnels in tunnels than are looked into
	Requeued  uint64 // packets that a qdisc handed out again

	// Missed are records that did not fit into the ring buffer, by kind.
	Missed map[string]uint64
	// LeftOut are connections of which no request is timed, by reason: not_alternating, one_way, unknown_client, no_room.
	LeftOut map[string]uint64
	// Undecoded are records that were read and not understood.
	Undecoded uint64
	// TornScans are slots that changed while the table was read.
	TornScans uint64
}

// Counters reads the counts of all CPUs.
func (l *Loader) Counters() (Counters, error) {
	cpus, err := l.readCounters()
	if err != nil {
		return Counters{}, err
	}
	var sum [bpfobj.TracerCounterCOUNT_MAX]uint64
	for _, c := range cpus {
		for i, n := range c.Count {
			sum[i] += n
		}
	}
	return Counters{
		Started:         sum[bpfobj.TracerCounterCOUNT_STARTED],
		Unsampled:       sum[bpfobj.TracerCounterCOUNT_UNSAMPLED],
		Finished:        sum[bpfobj.TracerCounterCOUNT_FINISHED],
		Split:           sum[bpfobj.TracerCounterCOUNT_SPLIT],
		Cloned:          sum[bpfobj.TracerCounterCOUNT_CLONED],
		Dropped:         sum[bpfobj.TracerCounterCOUNT_DROPPED],
		TableFull:       sum[bpfobj.TracerCounterCOUNT_TABLE_FULL],
		EvictedStale:    sum[bpfobj.TracerCounterCOUNT_EVICTED_STALE],
		EvictedMismatch: sum[bpfobj.TracerCounterCOUNT_EVICTED_MISMATCH],
		Torn:            sum[bpfobj.TracerCounterCOUNT_TORN],
		NoIngress:       sum[bpfobj.TracerCounterCOUNT_NO_INGRESS],
		Unfinished: map[string]uint64{
			"ingress":   sum[bpfobj.TracerCounterCOUNT_UNFINISHED_INGRESS],
			"egress":    sum[bpfobj.TracerCounterCOUNT_UNFINISHED_EGRESS],
			"dequeue":   sum[bpfobj.TracerCounterCOUNT_UNFINISHED_DEQUEUE],
			"xmit":      sum[bpfobj.TracerCounterCOUNT_UNFINISHED_XMIT],
			"pod_queue": sum[bpfobj.TracerCounterCOUNT_UNFINISHED_POD_QUEUE],
		},
		Malformed: sum[bpfobj.TracerCounterCOUNT_MALFORMED],
		TooDeep:   sum[bpfobj.TracerCounterCOUNT_TOO_DEEP],
		Requeued:  sum[bpfobj.TracerCounterCOUNT_REQUEUED],
		Missed: map[string]uint64{
			"journey": sum[bpfobj.TracerCounterCOUNT_MISSED_JOURNEY],
			"drop":    sum[bpfobj.TracerCounterCOUNT_MISSED_DROP],
			"split":   sum[bpfobj.TracerCounterCOUNT_MISSED_SPLIT],
			"tcp":     sum[bpfobj.TracerCounterCOUNT_MISSED_TCP],
			"request": sum[bpfobj.TracerCounterCOUNT_MISSED_REQUEST],
		},
		LeftOut: map[string]uint64{
			"not_alternating": sum[bpfobj.TracerCounterCOUNT_LEFT_OUT_OVERLAP],
			"one_way":         sum[bpfobj.TracerCounterCOUNT_LEFT_OUT_UNSEEN],
			"unknown_client":  sum[bpfobj.TracerCounterCOUNT_LEFT_OUT_UNKNOWN],
			"no_room":         sum[bpfobj.TracerCounterCOUNT_LEFT_OUT_NO_ROOM],
		},
		Undecoded: l.undecoded.Load(),
		TornScans: l.tornScans.Load(),
	}, nil
}

// readCounters reads those of each CPU.
func (l *Loader) readCounters() (cpus []bpfobj.TracerCounters, err error) {
	if err := l.objects.Counters.Lookup(uint32(0), &cpus); err != nil {
		return nil, fmt.Errorf("read the programs' counters: %w", err)
	}
	return cpus, nil
}

// ProgramStats is what the kernel says of one of our programs.
type ProgramStats struct {
	Program string
	// Runs and Seconds stay 0 unless the kernel's BPF statistics are on (sysctl kernel.bpf_stats_enabled).
	Runs    uint64
	Seconds float64
	// RecursionMisses are runs that the kernel left out because the program was already running on that CPU.
	RecursionMisses uint64
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
