package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

// PodThrottling is how a pod's processes on this node were held back by their CPU limit, lately.
type PodThrottling struct {
	Workload string  `json:"workload"` // namespace/name
	Seconds  float64 `json:"seconds"`  // of the time that was watched
	record.Throttling
}

// cpuShortage is what kept CPUs from packets in a window.
type cpuShortage string

const (
	noShortage  cpuShortage = ""
	stolenCPU   cpuShortage = "stolen"
	busyCPUs    cpuShortage = "busy"    // all of them, with whatever
	softirqFull cpuShortage = "softirq" // one of them, with packets
)

// cpuShortage is what kept CPUs from packets in the window, and in words.
func (w *window) cpuShortage() (cpuShortage, string) {
	before, now := w.from.Stats.CPUs, w.to.Stats.CPUs
	if len(before) != len(now) || len(now) == 0 {
		return noShortage, ""
	}
	var machine record.CPUTime
	cpus := make([]record.CPUTime, len(now))
	for i := range now {
		c := record.CPUTime{
			All: rise(now[i].All, before[i].All), Idle: rise(now[i].Idle, before[i].Idle),
			Softirq: rise(now[i].Softirq, before[i].Softirq), Steal: rise(now[i].Steal, before[i].Steal),
		}
		cpus[i] = c
		machine.All += c.All
		machine.Idle += c.Idle
		machine.Steal += c.Steal
	}
	share := func(part uint64, c record.CPUTime) float64 { return float64(part) / float64(max(1, c.All)) }
	if machine.All < minTicks*uint64(len(now)) {
		return noShortage, ""
	}
	most := func(of func(record.CPUTime) uint64) int {
		most := 0
		for i, c := range cpus {
			if share(of(c), c) > share(of(cpus[most]), cpus[most]) {
				most = i
			}
		}
		return most
	}
	stolen := most(func(c record.CPUTime) uint64 { return c.Steal })
	busy := most(func(c record.CPUTime) uint64 { return c.Softirq })
	switch {
	case share(machine.Steal, machine) >= stealShare:
		return stolenCPU, fmt.Sprintf("the hypervisor took %s of the CPU time in the window (steal in /proc/stat)", percent(share(machine.Steal, machine)))
	case share(cpus[stolen].Steal, cpus[stolen]) >= stealOfOneShare:
		return stolenCPU, fmt.Sprintf("the hypervisor took %s of the time of CPU %d in the window (steal in /proc/stat)", percent(share(cpus[stolen].Steal, cpus[stolen])), stolen)
	case share(machine.Idle, machine) <= idleShare:
		return busyCPUs, fmt.Sprintf("the CPUs were idle for %s of the window (/proc/stat)%s", percent(share(machine.Idle, machine)), w.squeezed())
	case share(cpus[busy].Softirq, cpus[busy]) >= softirqShare && share(cpus[busy].Idle, cpus[busy]) <= idleShare:
		return softirqFull, fmt.Sprintf("CPU %d spent %s of the window in softirqs and was never idle (/proc/stat)%s", busy, percent(share(cpus[busy].Softirq, cpus[busy])), w.squeezed())
	}
	return noShortage, ""
}

// squeezed says how often softirqs ran out of their budget, if they did.
func (w *window) squeezed() string {
	s, known := w.softnet()
	if !known || s.TimeSqueeze == 0 {
		return ""
	}
	return fmt.Sprintf(", and softirqs ran out of their budget %s (time_squeeze in softnet_stat)", plural(s.TimeSqueeze, "time"))
}

// waitsForCPU tells of a queue that packets leave as fast as a CPU takes them: no shaper holds them back but one that is there on
// purpose, and the queue is where it belongs.
func (q *queue) waitsForCPU(w *window) bool {
	return len(q.devices) > 0 && !slices.ContainsFunc(q.devices, func(d netdev.Device) bool {
		return !d.Role.LeadsOut() || w.unusual(&d) != "" || has(d.Root, "netem")
	})
}

// excuseByCPU lowers a critical finding to a warning where CPUs had no time for packets and that may be all: a wait or a loss beyond
// what that makes stays critical. It says what it goes by. byTask tells that tasks have part in it: that CPUs are busy with others holds up
// who queues packets, or decides about them in user space, but no softirq.
func (w *window) excuseByCPU(f *Finding, longest float64, byTask bool) []string {
	shortage, line := w.cpuShortage()
	if shortage == noShortage || shortage == busyCPUs && !byTask {
		return nil
	}
	line += ": packets may wait and be lost for that alone"
	explained := (f.Delay == nil || f.Delay.P50 != nil && *f.Delay.P50 < longest) &&
		(f.Drops == nil || f.Drops.Ratio != nil && *f.Drops.Ratio < mostLostForCPU)
	if f.Severity == Critical && explained {
		f.Severity = Warning
		line += ", so this is a warning"
	}
	f.Confidence *= excusedConfidence
	return []string{line}
}

// throttled says of the pods that a finding names as receivers whether their CPU limit holds them back.
func (w *window) throttled(pairs []Pair) (lines []string) {
	for _, t := range w.to.Throttling {
		hit := slices.ContainsFunc(pairs, func(p Pair) bool { return p.Dst == t.Workload })
		if !hit || t.Periods == 0 || float64(t.Throttled) < throttledShare*float64(t.Periods) {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s is held back by its CPU limit: in %s of %s in the last %s (%s; nr_throttled in its cgroup's cpu.stat), its threads waited %s for that",
			t.Workload, group(t.Throttled), plural(t.Periods, "period"), seconds(t.Seconds), percent(float64(t.Throttled)/float64(t.Periods)), seconds(t.Throttling.Seconds)))
	}
	if shortage, text := w.cpuShortage(); shortage == stolenCPU && len(lines) == 0 {
		lines = append(lines, text+": the application may be slow for that")
	}
	return lines
}

// ownThrottling says that tracer itself did not get the CPU that it wanted; nil if it did.
func (w *window) ownThrottling() []string {
	now, before := w.to.Stats.Throttling, w.from.Stats.Throttling
	if now == nil || before == nil {
		return nil
	}
	t := now.Since(*before)
	if t.Periods == 0 || float64(t.Throttled) < throttledShare*float64(t.Periods) {
		return nil
	}
	return []string{fmt.Sprintf("tracer itself was held back by its CPU limit in %s of %s", group(t.Throttled), plural(t.Periods, "period"))}
}
