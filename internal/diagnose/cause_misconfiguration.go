package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// misconfigurationRules find misconfiguration: queues that nobody installs by default, before they hurt.
func misconfigurationRules(w *window) []Finding {
	var found []Finding
	for i := range w.to.Devices {
		d := &w.to.Devices[i]
		why := w.unusual(d)
		if why == "" || slices.ContainsFunc(w.queues, func(q *queue) bool { return q.device == d.Name && q.hasFinding }) {
			continue
		}
		f := Finding{
			Kind: KindMisconfiguration, Cause: Misconfigured, Severity: Warning,
			Stage: journey.Queue, Device: d.Name, Direction: journey.Out, Confidence: 0.9,
			Pairs: []Pair{}, Next: next(Misconfigured, "DEVICE", shellWord(d.Name)),
			subject: d.Name, predicate: "has a queue that does not belong there: " + d.Root.Brief(),
		}
		line := fmt.Sprintf("root qdisc of %s is %s", d.Name, d.Root.Brief())
		if !d.Changed.IsZero() {
			line += " since " + d.Changed.Format("15:04:05")
		}
		f.Evidence = []string{line}
		if use, known := w.shaperUse(d); known {
			f.Evidence = append(f.Evidence, use.String())
			f.predicate += fmt.Sprintf(" (%s of %s used, %s)", bitRate(use.rate), bitRate(use.limit), plural(use.overlimits, "overlimit"))
		}
		f.Evidence = append(append(f.Evidence, why, "no packet was delayed or dropped by it in this window",
			fmt.Sprintf("if it is there on purpose, tell tracer so: --expect-qdisc %s=%s", d.Name, d.Root.Kind)), w.changes(&f)...)
		found = append(found, f)
	}
	return found
}

// unusual says why a device's queue does not belong there; "" if it may.
func (w *window) unusual(d *netdev.Device) string {
	if !d.Role.LeadsOut() || !d.Root.Queues() {
		return ""
	}
	if want, ok := w.to.ExpectQdisc[d.Name]; ok {
		if want == d.Root.Kind {
			return ""
		}
		return fmt.Sprintf("it should be %s (--expect-qdisc)", want)
	}
	if def := DefaultQdisc(d); def != "" && def != d.Root.Kind {
		return "the device's default is " + def
	}
	if has(d.Root, "netem") {
		return "netem delays and loses packets on purpose"
	}
	if has(d.Root, "tbf", "htb", "hfsc", "cbq") {
		return "it holds packets back to a rate, which no CNI asks for on an uplink"
	}
	for leaf := range d.Root.Leaves() {
		if !slices.Contains([]string{"pfifo", "bfifo", "pfifo_head_drop", "fq_codel", "codel", "sfq"}, leaf.Kind) {
			continue
		}
		if leaf.Limit > 0 && (leaf.LimitUnit == "packets" && leaf.Limit < minFifoPackets || leaf.LimitUnit == "bytes" && leaf.Limit < minFifoBytes) {
			return "its limit is so small that it loses what a burst sends"
		}
	}
	return ""
}
