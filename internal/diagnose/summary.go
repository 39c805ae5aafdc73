package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// summarize says it all in one sentence, and nothing that was not measured.
func summarize(r *Report, w *window) string {
	on := ""
	if w.node != "" {
		on = " on " + w.node
	}
	waiting := ""
	if said := w.sayUnanswered(); said != "" {
		waiting = "; " + said
	}
	switch {
	case r.Verdict == NoTraffic:
		return fmt.Sprintf("no traffic of pods was seen%s in %s", on, seconds(r.WindowSeconds)) + waiting
	case r.Verdict == Blind:
		return fmt.Sprintf("tracer does not see enough%s to tell whether packets are held or dropped: %s", on, whyBlind(r, w)) + waiting
	case len(r.Findings) == 0 || r.Findings[0].Severity == Info:
		text := wellPassed(r, w)
		for i := range r.Findings {
			f := &r.Findings[i]
			if f.reason == "" { // nobody asks for it, and it is no fault all the same
				text += fmt.Sprintf("; %s %s", strings.TrimSuffix(f.subject, ","), f.predicate)
				continue
			}
			text += fmt.Sprintf("; on purpose %s %s (%s)", strings.TrimSuffix(f.subject, ","), f.predicate, f.reason)
		}
		return text
	}
	principal := &r.Findings[0]
	if principal.beyond {
		on = "" // its subject says where
	}
	parts := []string{sentence(r, principal, on)}
	if principal.reason != "" {
		parts = append(parts, principal.reason)
	}
	var same, besides []string
	for i := range r.Findings {
		f := &r.Findings[i]
		switch {
		case f.subject == principal.subject || f.Severity != principal.Severity:
		case f.Cause == principal.Cause && f.Device != principal.Device && sameReason(f, principal):
			same = append(same, f.Device)
		default:
			besides = append(besides, f.subject+" "+f.predicate)
		}
	}
	if len(same) > 0 {
		parts = append(parts, "the same, to a lesser degree, at "+strings.Join(same, " and "))
	}
	if len(besides) > 0 {
		parts = append(parts, "besides, "+strings.Join(besides, ", and "))
	}
	if fine := fine(r, w.queues); len(fine) > 0 {
		verb := "is"
		if len(fine) > 1 {
			verb = "are"
		}
		parts = append(parts, fmt.Sprintf("%s %s fine", strings.Join(fine, " and "), verb))
	}
	return strings.Join(parts, "; ")
}

// wellPassed says what a node has passed where nothing was found, and between whom nothing came back all the same.
func wellPassed(r *Report, w *window) string {
	var n float64
	var lost uint64
	for i := range w.counts.Pairs {
		n += w.counts.Pairs[i].Packets
	}
	for _, d := range lossesOf(w.counts) {
		lost += d.Packets
	}
	if answered := w.answeredAlone(); n == 0 && answered > 0 {
		return fmt.Sprintf("no packet of pods was seen on its way on %s in %s; %s, and none waits for too long",
			cmp.Or(w.node, "this node"), seconds(r.WindowSeconds), plural(answered, "request")+verb(answered, " was", " were")+" answered")
	}
	text := fmt.Sprintf("%s passed %s of %s in %s: %s lost, none held for longer than it should be",
		cmp.Or(w.node, "this node"), packets(uint64(n)), plural(uint64(r.CheckedTotal), "pair")+" of workloads", seconds(r.WindowSeconds), group(lost))
	for i := range r.Checked {
		if p := &r.Checked[i]; p.Silent() {
			return text + fmt.Sprintf("; %s → %s: %s, 0 back, which is usual only of datagrams that want no answer", p.Src, p.Dst, packets(p.There))
		}
	}
	return text
}

// whyBlind says what is not seen, and why.
func whyBlind(r *Report, w *window) string {
	var rows []string
	for i := range r.Coverage {
		if c := &r.Coverage[i]; c.Blind() {
			rows = append(rows, c.Sentence())
		}
	}
	switch unseen, begun := unseenPackets(r.Coverage), begunPackets(r.Coverage); {
	case len(rows) > 2:
		return fmt.Sprintf("%s; and %d more", strings.Join(rows[:2], "; "), len(rows)-2)
	case len(rows) > 0:
		return strings.Join(rows, "; ")
	case unseen >= silentPackets:
		return fmt.Sprintf("pods' devices counted %s in %s of which no hook saw one", packets(unseen), seconds(r.WindowSeconds))
	case w.lostSight(r.Coverage):
		return fmt.Sprintf("%s came in %s to go on, and of none it was seen where it went", packets(begun), seconds(r.WindowSeconds))
	default:
		return fmt.Sprintf("%s were missed in %s, and none was read", plural(w.counts.MissedRecords, "record"), seconds(r.WindowSeconds))
	}
}

// sameReason tells whether what two findings lost was freed for the same reason: two rules of different kinds are two things.
func sameReason(x, y *Finding) bool {
	return x.Drops == nil || y.Drops == nil || x.Drops.Reason == y.Drops.Reason
}

// sentence says what the principal finding and others with its subject are: of the same cause, the one that hurts
// most.
func sentence(r *Report, principal *Finding, on string) string {
	var kinds []Kind
	var does []string
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.subject == principal.subject && f.Severity == principal.Severity && !slices.Contains(kinds, f.Kind) {
			kinds = append(kinds, f.Kind)
			does = append(does, f.predicate)
		}
	}
	return principal.subject + on + " " + strings.Join(does, " and ")
}

// subject is the queue in a summary.
func (q *queue) subject() string {
	switch {
	case q.limit != nil:
		return q.limit.subject()
	case q.device == netdev.PodLabel:
		return "the egress queue of pods' devices"
	case q.stage == journey.PodQueue:
		return "the egress queue of " + podEndName(q.device) + " in the pod"
	}
	return q.device + " egress queue"
}

// reason names the root qdisc, and what would be there by default.
func (q *queue) reason() string {
	if len(q.devices) == 0 {
		return ""
	}
	if q.limit != nil {
		return q.limit.reason()
	}
	d := q.shown()[0]
	kinds := d.Root.Kind
	if below := childKinds(d.Root.Children, nil); len(below) > 0 {
		kinds += " with " + strings.Join(below, ", ")
	}
	of := "its root qdisc"
	if q.stage == journey.PodQueue {
		of = "its root qdisc there"
	}
	if q.device == netdev.PodLabel {
		of = "the root qdisc of " + d.Name
	}
	why := fmt.Sprintf("%s is %s", of, kinds)
	if def := DefaultQdisc(&d); def != "" && def != d.Root.Kind {
		why += fmt.Sprintf(", not the %s that is the default there", def)
	}
	return why
}

// fine names the other queues that were measured well and are as they should be, without pods'.
func fine(r *Report, queues []*queue) []string {
	var out []string
	for _, q := range queues {
		bad := slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Device == q.device })
		if !bad && q.device != netdev.PodLabel && q.stage != journey.PodQueue && q.delay.Count() >= minMeasured &&
			q.delay.Quantile(0.5) < q.threshold.WarnDelay && q.lossRatio() < q.threshold.WarnLoss {
			out = append(out, q.device)
		}
	}
	return out
}
