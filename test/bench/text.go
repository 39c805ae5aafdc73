package main

import (
	"bytes"
	"fmt"
	"io"
)

// text writes r as tables.
func (r *report) text(w io.Writer) error {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", r.Machine)
	r.programText(&b)
	r.liveText(&b)
	r.trafficText(&b)
	r.agentText(&b)
	r.viewText(&b)
	r.memoryText(&b)
	r.goText(&b)
	for _, list := range []struct {
		verdict string
		says    []string
	}{{notShown, r.NotShown}, {missed, r.Missed}, {exceeded, r.Exceeded}} {
		for _, says := range list.says {
			fmt.Fprintf(&b, "%s: %s\n", list.verdict, says)
		}
	}
	_, err := b.WriteTo(w)
	return err
}

func (r *report) programText(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nNanoseconds a run, less the empty program's %.1f: medians of %d rounds of %d runs each\n", r.EmptyNs, r.Rounds, r.Repeat)
	fmt.Fprintf(b, "%-32s %10s %10s %10s  %s\n", "program", "ns", "spread", "x clock", "limit")
	for i, p := range r.Programs {
		if p.Than != "" && (i == 0 || r.Programs[i-1].Than == "") {
			fmt.Fprintln(b, "more than without requests, at a pod's device")
		}
		fmt.Fprintf(b, "%-32s %10.1f %10.1f %10.2f", p.Name, p.Ns, p.Spread, p.KtimeRatio)
		if p.Limit != nil {
			fmt.Fprintf(b, "  %.2f %s", *p.Limit, p.verdict())
		}
		fmt.Fprintln(b)
	}
}

func (r *report) liveText(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nNanoseconds a run under real traffic, more than an empty program in its place\n")
	fmt.Fprintf(b, "%-28s %10s %20s %20s\n", "", "empty", "not sampled", "sampled")
	workload := ""
	for _, p := range r.Live {
		if p.Workload != workload {
			workload = p.Workload
			fmt.Fprintln(b, workload)
		}
		fmt.Fprintf(b, "  %-26s %10.1f %11.1f ± %6.1f %11.1f ± %6.1f", p.Program, p.EmptyNs,
			p.Unsampled.Ns, p.Unsampled.Spread/2, p.Sampled.Ns, p.Sampled.Spread/2)
		if p.Unsampled.Limit != nil && p.Sampled.Limit != nil {
			fmt.Fprintf(b, "  %.0f %s, %.0f %s", *p.Unsampled.Limit, p.Unsampled.verdict(), *p.Sampled.Limit, p.Sampled.verdict())
		}
		fmt.Fprintln(b)
	}
}

func (r *report) trafficText(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nTraffic through the overlay, as a ratio to no tracer and to %s, to which the rest belongs\n", emptyOnDevices)
	fmt.Fprintf(b, "%-28s %21s %8s %8s %8s %17s  %s\n", "", "rate", "ratio", "of empty", "spread", "95 % bounds", "limit")
	workload := ""
	for _, t := range r.Traffic {
		if t.Workload != workload {
			workload = t.Workload
			fmt.Fprintln(b, workload)
		}
		fmt.Fprintf(b, "  %-26s %10.0f %-10s %8.3f %8.3f %8.3f", t.Mode, t.Rate, t.Unit, t.Ratio, t.OfEmpty, t.Spread)
		if t.Low != nil && t.High != nil {
			fmt.Fprintf(b, "    %.3f … %.3f", *t.Low, *t.High)
		} else {
			fmt.Fprintf(b, "%18s", "none")
		}
		if t.Limit != nil {
			fmt.Fprintf(b, "  %.2f %s", *t.Limit, t.Verdict)
		}
		fmt.Fprintln(b)
	}
}

func (r *report) agentText(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nAn agent, by what it sees\n%8s %6s %8s %9s %9s %15s %14s %9s %8s %13s\n", "flows", "pods", "devices", "packets/s",
		"cores", "CPU s/million", "programs' ns", "start s", "of CPU", "resident MiB")
	for _, c := range append(r.Agent.Scale, r.Agent.Long) {
		rate := c.Rate
		if c.Flows == 0 {
			rate = 0
		}
		fmt.Fprintf(b, "%8d %6d %8d %9d %9.3f %15.2f %14.0f %9.2f %8.2f %13.1f\n", c.Flows, c.Pods, c.Devices, rate, c.Cores,
			c.CPUSeconds, c.ProgramNs, c.StartSeconds, c.StartCPUSeconds, mebibytes(c.ResidentBytes))
	}
	for _, l := range r.Agent.limited() {
		fmt.Fprintf(b, "%-56s %8.1f %%  %.0f %% of a core %s\n", l.what, 100*l.cores, 100*l.limit, l.verdict())
	}
	growth := r.Agent.Growth
	fmt.Fprintf(b, "%-56s %10.2f  %.2f %s (spread %.2f, %d rounds)\n", "a packet's cost in 1,000 flows of 64 pods, times one's",
		growth.Ratio, growthLimit, growth.atMost(growthLimit), growth.Spread, growth.Rounds)
	fmt.Fprintf(b, "%-56s %10.2f  (%.0f %% of one's)\n%-56s %10.2f\n", "  of that the programs", growth.Programs, 100*growth.Share, "  the agent", growth.Agent)
	long := r.Agent.Long
	fmt.Fprintf(b, "%-56s %10.1f  %d %s (at most %.1f)\n", fmt.Sprintf("resident MiB after %d packets of %d flows", long.Records, long.Flows),
		mebibytes(long.ResidentBytes), residentLimit>>20, verdict(long.ResidentBytes <= residentLimit), mebibytes(long.PeakBytes))
}

func (r *report) viewText(b *bytes.Buffer) {
	v := &r.View
	fmt.Fprintf(b, "\nThe live view of as many flows, from an agent that takes %.1f %% of a core by itself\n", 100*v.AgentShare)
	fmt.Fprintf(b, "%-28s %34.1f %%  %.0f %% %s\n", "of a core", 100*v.Share, 100*viewShareLimit, verdict(v.Share <= viewShareLimit))
	fmt.Fprintf(b, "%-28s %32.1f MiB  %d MiB %s\n", "resident", mebibytes(v.ResidentBytes), viewMemoryLimit>>20, verdict(v.ResidentBytes <= viewMemoryLimit))
	fmt.Fprintf(b, "%-28s %33.0f ms  %d ms %s\n", "to the first frame", v.FirstFrameMs, firstFrameLimit.Milliseconds(),
		verdict(v.FirstFrameMs <= firstFrameLimit.Seconds()*1000))
	fmt.Fprintf(b, "%-28s %34.1f %%  %.0f %% %s\n", "the agent takes more by", 100*v.AgentRise, 100*agentRiseLimit, verdict(v.AgentRise <= agentRiseLimit))
	fmt.Fprintf(b, "%-28s %34.1f %%\n", "tracer ui, of a core", 100*v.PageShare)
	fmt.Fprintf(b, "%-28s %34.1f %%  %.0f %% %s\n", "with it the agent takes more", 100*v.PageRise, 100*agentRiseLimit, verdict(v.PageRise <= agentRiseLimit))
	fmt.Fprintf(b, "%-28s %33.1f ms\n", "one verdict, of CPU time", v.QuestionMs)
}

func (r *report) memoryText(b *bytes.Buffer) {
	m := &r.Memory
	fmt.Fprintf(b, "\nKernel memory\n%-28s %14s %10s %10s\n", "map", "type", "entries", "KiB")
	for _, m := range m.Maps {
		fmt.Fprintf(b, "%-28s %14s %10d %10.1f\n", m.Name, m.Type, m.MaxEntries, kibibytes(m.Bytes))
	}
	fmt.Fprintf(b, "%-28s %14s %10s %10s\n", "program", "instructions", "JIT KiB", "KiB")
	for _, p := range m.Programs {
		jit := uint64(p.JITBytes)
		fmt.Fprintf(b, "%-28s %14d %10.1f %10.1f\n", p.Name, p.Instructions, kibibytes(jit), kibibytes(jit+p.Bytes))
	}
	fmt.Fprintf(b, "%-28s %36.1f  %d MiB %s\n", "all", kibibytes(m.KernelBytes), kernelLimit>>20, verdict(m.KernelBytes <= kernelLimit))
}

func (r *report) goText(b *bytes.Buffer) {
	fmt.Fprintf(b, "\nGo, by itself\n%-40s %14s %12s %10s\n", "benchmark", "ns", "bytes", "allocations")
	for _, g := range r.Go {
		fmt.Fprintf(b, "%-40s %14.1f %12d %10d", g.Package+" "+g.Name, g.Ns, g.Bytes, g.Allocs)
		if v := g.verdict(); v != "" {
			fmt.Fprintf(b, "  %.0f ms %s", goLimits[g.Name].ns/1e6, v)
		}
		fmt.Fprintln(b)
	}
	fmt.Fprintln(b)
}
