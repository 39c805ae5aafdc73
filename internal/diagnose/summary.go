package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"tracer/internal/journey"
)

// minFine is how many packets must have passed a queue for a report to say that it is fine.
const minFine = 20

// summarize says it all in one sentence, and nothing that was not measured.
func summarize(r *Report, in *Input, queues []*queue) string {
	on := ""
	if in.Node != "" {
		on = " on " + in.Node
	}
	switch {
	case r.Verdict == NoTraffic:
		return fmt.Sprintf("no traffic of pods was seen%s in %s: send some, or see with `tracer check` what is traced",
			on, seconds(r.WindowSeconds))
	case len(r.Findings) == 0:
		var n float64
		pairs := 0
		for _, p := range in.Snapshot.Pairs {
			n += p.Packets
			if p.Packets > 0 {
				pairs++
			}
		}
		return fmt.Sprintf("no queue%s holds or drops more than it should: %s of %s in %s",
			on, packets(uint64(n)), plural(uint64(pairs), "pair"), seconds(r.WindowSeconds))
	}
	principal := &r.Findings[0]
	i := slices.IndexFunc(queues, func(q *queue) bool { return q.device == principal.Device })
	parts := []string{sentence(r, principal, on)}
	if r.Verdict == Healthy {
		parts[0] = "no fault, but " + parts[0]
	}
	if why := queues[i].because(); why != "" {
		parts = append(parts, why)
	}
	var others []string
	for _, f := range r.Findings {
		if f.Device != principal.Device && f.Severity == principal.Severity && !slices.Contains(others, f.Device) {
			others = append(others, f.Device)
		}
	}
	if len(others) > 0 {
		parts = append(parts, "the same, to a lesser degree, at "+strings.Join(others, " and "))
	}
	if fine := fine(r, queues); len(fine) > 0 {
		verb := "is"
		if len(fine) > 1 {
			verb = "are"
		}
		parts = append(parts, fmt.Sprintf("%s %s fine", strings.Join(fine, " and "), verb))
	}
	return strings.Join(parts, "; ")
}

// sentence says what the principal finding and the other one of the same device are.
func sentence(r *Report, f *Finding, on string) string {
	what := f.Device + " egress queue" + on
	if f.Device == journey.PodLabel {
		what = "the egress queue of pods' devices" + on
	}
	delay, drops := f.Delay, f.Drops
	for i := range r.Findings {
		if g := &r.Findings[i]; g.Device == f.Device && g.Severity == f.Severity {
			if delay == nil {
				delay = g.Delay
			}
			if drops == nil {
				drops = g.Drops
			}
		}
	}
	var does []string
	switch {
	case delay == nil:
	case delay.P50 != nil:
		usual := ""
		if delay.Baseline != nil {
			usual = "; usual " + seconds(*delay.Baseline)
		}
		does = append(does, fmt.Sprintf("holds packets %s (p50%s)", seconds(*delay.P50), usual))
	default:
		does = append(does, fmt.Sprintf("holds %s, the oldest for %s", packets(delay.Held), seconds(*delay.Oldest)))
	}
	if drops != nil {
		does = append(does, "drops "+percent(*drops.Ratio))
	}
	return what + " " + strings.Join(does, " and ")
}

// because names the root qdisc, against what would be there by default.
func (q *queue) because() string {
	if len(q.devices) == 0 {
		return ""
	}
	d := q.shown()[0]
	kinds := d.Root.Kind
	if below := belowKinds(d.Root.Children, nil); len(below) > 0 {
		kinds += " with " + strings.Join(below, ", ")
	}
	of := "its root qdisc"
	if q.device == journey.PodLabel {
		of = "the root qdisc of " + d.Name
	}
	why := fmt.Sprintf("%s is %s", of, kinds)
	if def := defaultOf(&d); def != "" && def != d.Root.Kind {
		why += fmt.Sprintf(", not the %s that is the default there", def)
	}
	return why
}

// fine names the other queues that were measured well and are as they should be, without pods'.
func fine(r *Report, queues []*queue) []string {
	var out []string
	for _, q := range queues {
		bad := slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Device == q.device })
		if !bad && q.device != journey.PodLabel && q.delay.Count() >= minFine &&
			q.delay.Quantile(0.5) < q.expected.delayWarning && q.lossRatio() < q.expected.lossWarning {
			out = append(out, q.device)
		}
	}
	return out
}
