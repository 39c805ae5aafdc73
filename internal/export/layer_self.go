package export

import (
	"runtime"

	"github.com/prometheus/client_golang/prometheus"
)

// The verdict, and the metrics about tracer itself.
var (
	finding = newFamily(prometheus.GaugeValue, "tracer_finding",
		"1 while this finding holds.", "cause", "stage", "device", "direction", "severity")
	recordsLost = newFamily(prometheus.CounterValue, "tracer_records_lost_total",
		"Records that the kernel made and that were not read, for want of room in the ring buffer.", "kind")
	journeys = newFamily(prometheus.CounterValue, "tracer_journeys_total",
		"Journeys of packets by what became of them.", "outcome")
	sampleRatio = newFamily(prometheus.GaugeValue, "tracer_sample_ratio",
		"Share of packets that were followed since the start.")
	sampleOneIn = newFamily(prometheus.GaugeValue, "tracer_sample_one_in",
		"Of the packets beyond their flow's budget one in so many is followed; 1 if all are.")
	sampleBudget = newFamily(prometheus.GaugeValue, "tracer_sample_flow_budget",
		"Packets of each flow that are followed for certain, in each tenth of a second.")
	hookUp = newFamily(prometheus.GaugeValue, "tracer_hook_up",
		"1 if a hook is attached; of all pods' devices together, if it is at each.", "hook", "device")
	bpfRunSeconds = newFamily(prometheus.CounterValue, "tracer_bpf_run_seconds_total",
		"Run time of a BPF program; 0 unless kernel.bpf_stats_enabled is set.", "program")
	bpfRecursionMisses = newFamily(prometheus.CounterValue, "tracer_bpf_recursion_misses_total",
		"Runs of a BPF program that the kernel left out since it was already running on that CPU.", "program")
	identityMisses = newFamily(prometheus.CounterValue, "tracer_identity_misses_total",
		"Look-ups of addresses that nobody is known to have.")
	identityEarly = newFamily(prometheus.CounterValue, "tracer_identity_early_total",
		"Records that were named before it was settled who had their addresses, since too many waited.")
	identitySynced = newFamily(prometheus.GaugeValue, "tracer_identity_synced",
		"1 once all objects of a kind have been read from the API server.", "resource")
	identityErrors = newFamily(prometheus.CounterValue, "tracer_identity_errors_total",
		"Requests to the API server that failed.", "resource")
	identityConflicts = newFamily(prometheus.CounterValue, "tracer_identity_conflicts_total",
		"Times that two pods claimed one address; nobody is named until one of them is gone.")
	identityStale = newFamily(prometheus.GaugeValue, "tracer_identity_stale",
		"1 while names are those of an earlier run, since the API server has not answered yet.")
	seriesOverflow = newFamily(prometheus.CounterValue, "tracer_series_overflow_total",
		"Times that a pair was merged into _other for want of series.")
	buildInfo = newFamily(prometheus.GaugeValue, "tracer_build_info",
		"1, with the version of this program.", "version", "goversion")
)

// selfMetrics appends the metrics about tracer itself.
func selfMetrics(to []prometheus.Metric, s Status, overflow uint64) []prometheus.Metric {
	lost, outcomes, up := recordsLost.empty(), journeys.empty(), hookUp.empty()
	run, misses := bpfRunSeconds.empty(), bpfRecursionMisses.empty()
	ratio, oneIn, budget := sampleRatio.empty(), sampleOneIn.empty(), sampleBudget.empty()
	unknown, early := identityMisses.empty(), identityEarly.empty()
	merged, build := seriesOverflow.empty(), buildInfo.empty()

	for kind, n := range s.Lost {
		lost.add(float64(n), kind)
	}
	for outcome, n := range s.Journeys {
		outcomes.add(float64(n), outcome)
	}
	for _, h := range s.Hooks {
		v := 0.0
		if h.Up {
			v = 1
		}
		up.min(v, h.Hook, h.Role.Label(h.Device))
	}
	for _, p := range s.Programs {
		run.add(p.Seconds, p.Program)
		misses.add(float64(p.RecursionMisses), p.Program)
	}
	ratio.add(s.SampleRatio)
	oneIn.add(float64(s.SampleOneIn))
	budget.add(float64(s.SampleBudget))
	unknown.add(float64(s.IdentityMisses))
	early.add(float64(s.IdentityEarly))
	if s.Identity != nil {
		to = identityMetrics(to, s.Identity)
	}
	merged.add(float64(overflow))
	build.add(1, s.Version, runtime.Version())
	for _, f := range []family{lost, outcomes, up, run, misses, ratio, oneIn, budget, unknown, early, merged, build} {
		to = f.metrics(to)
	}
	return to
}

// identityMetrics appends those about the names from Kubernetes.
func identityMetrics(to []prometheus.Metric, s *IdentityStatus) []prometheus.Metric {
	synced, failed := identitySynced.empty(), identityErrors.empty()
	conflicts, stale := identityConflicts.empty(), identityStale.empty()
	one := map[bool]float64{true: 1}
	for resource, yes := range s.Synced {
		synced.add(one[yes], resource)
	}
	for resource, n := range s.Errors {
		failed.add(float64(n), resource)
	}
	conflicts.add(float64(s.Conflicts))
	stale.add(one[s.Stale])
	for _, f := range []family{synced, failed, conflicts, stale} {
		to = f.metrics(to)
	}
	return to
}

// findingMetrics appends one for each finding that holds.
func findingMetrics(to []prometheus.Metric, h Held) []prometheus.Metric {
	found := finding.empty()
	for i := range h.Findings {
		f := &h.Findings[i].Finding
		found.max(1, string(f.Cause), string(f.Stage), f.Device, string(f.Direction), string(f.Severity))
	}
	return found.metrics(to)
}
