package metrics

var (
	bpfRunSeconds = counter("tracer_bpf_run_seconds_total",
		"Run time of a BPF program; 0 unless kernel.bpf_stats_enabled is set.", "program")
	bpfRecursionMisses = counter("tracer_bpf_recursion_misses_total",
		"Runs of a BPF program that the kernel left out since it was already running on that CPU.", "program")
)

// programs are what the kernel counts of the BPF programs.
var programs = subject{
	families: []*metricFamily{bpfRunSeconds, bpfRecursionMisses},
	collect: func(from *input, to *scrape) {
		for _, p := range from.status.Programs {
			to.add(bpfRunSeconds, p.Seconds, p.Program)
			to.add(bpfRecursionMisses, float64(p.RecursionMisses), p.Program)
		}
	},
}
