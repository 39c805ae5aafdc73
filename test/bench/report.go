package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
)

// report is everything that was measured.
type report struct {
	Machine  machine   `json:"machine"`
	Rounds   int       `json:"rounds"`
	Repeat   int       `json:"repeat"`   // runs of each program in each round
	EmptyNs  float64   `json:"empty_ns"` // taken off all others
	Programs []program `json:"programs"`
	Memory   memory    `json:"memory"`
	View     viewCost  `json:"view"`
	// Exceeded says which limits do not hold.
	Exceeded []string `json:"exceeded"`
}

// program is the cost of one scenario, less the empty program or, behind it, the wrapper.
type program struct {
	Name       string   `json:"name"`
	Ns         float64  `json:"ns"`          // the median
	KtimeRatio float64  `json:"ktime_ratio"` // to a program that reads the clock
	Spread     float64  `json:"spread"`      // the width of the middle half, in ns
	Limit      *float64 `json:"limit"`       // of the ratio
}

// newReport takes the times of measure, whose first two scenarios are the empty program and the clock.
func newReport(list []scenario, times [][]float64, m memory, v viewCost) report {
	empty, idle := times[0], times[0]
	r := report{Rounds: len(empty), Memory: m, View: v, Exceeded: []string{}}
	for i := range list[1:] {
		s := &list[i+1]
		// Round by round: both met the same machine.
		less := make([]float64, len(empty))
		for round, ns := range times[i+1] {
			less[round] = ns - idle[round]
		}
		if s.name == wrapperName {
			idle = times[i+1]
		}
		q := quartilesOf(less)
		p := program{Name: s.name, Ns: tenths(q.median), Spread: tenths(q.spread())}
		if s.limit != 0 {
			p.Limit = &s.limit
		}
		r.Programs = append(r.Programs, p)
	}
	clock := r.Programs[0].Ns
	for i := range r.Programs {
		p := &r.Programs[i]
		p.KtimeRatio = math.Round(p.Ns/clock*100) / 100
		if p.Limit != nil && p.KtimeRatio > *p.Limit {
			r.exceed("%s: %.2f times a clock read, limit %.1f", p.Name, p.KtimeRatio, *p.Limit)
		}
	}
	if m.KernelBytes > kernelLimit {
		r.exceed("kernel memory: %.1f MiB, limit %d", kibibytes(m.KernelBytes)/1024, kernelLimit>>20)
	}
	if m.Agent.ResidentBytes > residentLimit {
		r.exceed("agent: %.1f MiB resident, limit %d", kibibytes(m.Agent.ResidentBytes)/1024, residentLimit>>20)
	}
	r.Exceeded = append(r.Exceeded, v.exceeded()...)
	r.EmptyNs = tenths(quartilesOf(empty).median)
	return r
}

func (r *report) exceed(format string, values ...any) {
	r.Exceeded = append(r.Exceeded, fmt.Sprintf(format, values...))
}

func tenths(ns float64) float64 { return math.Round(ns*10) / 10 }

// json writes r as one object.
func (r *report) json(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// text writes r as tables.
func (r *report) text(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n\n", r.Machine)
	fmt.Fprintf(&b, "Nanoseconds a run, less the empty program's %.1f: medians of %d rounds of %d runs each\n", r.EmptyNs, r.Rounds, r.Repeat)
	fmt.Fprintf(&b, "%-28s %10s %10s %10s  %s\n", "program", "ns", "spread", "x clock", "limit")
	for _, p := range r.Programs {
		fmt.Fprintf(&b, "%-28s %10.1f %10.1f %10.2f", p.Name, p.Ns, p.Spread, p.KtimeRatio)
		if p.Limit != nil {
			fmt.Fprintf(&b, "  %.1f %s", *p.Limit, verdict(p.KtimeRatio <= *p.Limit))
		}
		fmt.Fprintln(&b)
	}

	m := &r.Memory
	fmt.Fprintf(&b, "\nKernel memory\n%-28s %14s %10s %10s\n", "map", "type", "entries", "KiB")
	for _, m := range m.Maps {
		fmt.Fprintf(&b, "%-28s %14s %10d %10.1f\n", m.Name, m.Type, m.MaxEntries, kibibytes(m.Bytes))
	}
	fmt.Fprintf(&b, "%-28s %14s %10s %10s\n", "program", "instructions", "JIT KiB", "KiB")
	for _, p := range m.Programs {
		jit := uint64(p.JITBytes)
		fmt.Fprintf(&b, "%-28s %14d %10.1f %10.1f\n", p.Name, p.Instructions, kibibytes(jit), kibibytes(jit+p.Bytes))
	}
	fmt.Fprintf(&b, "%-28s %36.1f  %d MiB %s\n", "all", kibibytes(m.KernelBytes), kernelLimit>>20, verdict(m.KernelBytes <= kernelLimit))

	a := &m.Agent
	fmt.Fprintf(&b, "\nThe agent's own memory, after %d packets of %d flows\n", a.Records, a.Flows)
	fmt.Fprintf(&b, "%-28s %36.1f  %d MiB %s\n", "resident", kibibytes(a.ResidentBytes), residentLimit>>20, verdict(a.ResidentBytes <= residentLimit))
	fmt.Fprintf(&b, "%-28s %36.1f\n", "the most that ever was", kibibytes(a.PeakBytes))

	v := &r.View
	fmt.Fprintf(&b, "\nThe live view of as many flows, from an agent that takes %.1f %% of a core by itself\n", 100*v.AgentShare)
	fmt.Fprintf(&b, "%-28s %34.1f %%  %.0f %% %s\n", "of a core", 100*v.Share, 100*viewShareLimit, verdict(v.Share <= viewShareLimit))
	fmt.Fprintf(&b, "%-28s %36.1f  %d MiB %s\n", "resident", kibibytes(v.ResidentBytes), viewMemoryLimit>>20, verdict(v.ResidentBytes <= viewMemoryLimit))
	fmt.Fprintf(&b, "%-28s %33.0f ms  %d ms %s\n", "to the first frame", v.FirstFrameMs, firstFrameLimit.Milliseconds(),
		verdict(v.FirstFrameMs <= firstFrameLimit.Seconds()*1000))
	fmt.Fprintf(&b, "%-28s %34.1f %%  %.0f %% %s\n", "the agent takes more by", 100*v.AgentRise, 100*agentRiseLimit, verdict(v.AgentRise <= agentRiseLimit))
	_, err := b.WriteTo(w)
	return err
}

func kibibytes(n uint64) float64 { return float64(n) / 1024 }

func verdict(holds bool) string {
	if holds {
		return "ok"
	}
	return "EXCEEDED"
}
