// Package diagnose says from two snapshots of a node which device delays or loses the packets, and why.
//
// Diagnose asks groups of rules, each in a file of its own: cause_qdisc.go finds qdisc-delay and qdisc-drop, and so on. What
// there is to say of a cause stands in cause.go, the registry; all figures that decide, with their reasons, in
// thresholds.go. Over time, Tracker tells which findings are active, and Baseline learns what delays are usual.
//
// CauseOfDrop says of one drop what it means, for those who look at single packets. ClampToBacklog, IsOfRouting, MeansNeighbour,
// MeansFullTable and ThresholdOf serve the overview and the agent, which judge nothing themselves.
package diagnose

import (
	"cmp"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// ruleGroup finds the causes of one file, cause_<name>.go. It looks for itself, except that it takes from the window's losses
// what it explains.
type ruleGroup struct {
	name string
	find func(*window) []Finding
}

// ruleGroups are asked in this order. Of two that know a reason for a loss the first explains it, so that no packet is
// explained twice.
func ruleGroups() []ruleGroup {
	return []ruleGroup{
		{"qdisc", qdiscRules},
		{"link", linkRules},
		{"encryption", encryptionRules},
		{"endpoints", endpointsRules}, // leaves the losses to policy
		{"policy", policyRules},
		{"routing", routingRules},
		{"fragments", fragmentsRules},
		{"backlog", backlogRules},
		{"checksum", checksumRules},
		{"receiver", receiverRules},
		{"requests", requestRules},
		{"listener", listenerRules},
		{"stage", stageRules},
		{"misconfiguration", misconfigurationRules},
		{"mtu", mtuRules},
		{"nic", nicRules},
		{"translation", translationRules},
		{"no_answer", noAnswerRules}, // goes by what the others have found
		{"pod_loss", podLossRules},
		{"remote", remoteRules},         // what was lost in pods is not lost beyond this node
		{"unanswered", unansweredRules}, // what the others have found explains it
		{"slow_requests", slowRequestRules},
		{"unknown", unknownRules}, // takes what nobody else does, so the last
	}
}

// Diagnose judges what happened between two snapshots of a node.
func Diagnose(node string, from, to Snapshot) Report {
	w := newWindow(node, from, to)
	r := Report{
		SchemaVersion: SchemaVersion,
		Node:          node,
		Started:       to.Taken.Add(-w.length()), // by the wall clock as it is, which may have been set meanwhile
		WindowSeconds: w.length().Seconds(),
		Verdict:       Healthy,
		Findings:      []Finding{},
		Coverage:      w.coverage,
	}
	r.Checked, r.CheckedTotal = w.checked()
	r.Served = w.served()
	for _, g := range ruleGroups() {
		w.found = r.Findings
		found := g.find(w)
		for i := range found {
			w.concrete(&found[i])
		}
		r.Findings = append(r.Findings, found...)
	}
	if w.counts.MissedRecords > 0 {
		for i := range r.Findings {
			r.Findings[i].Evidence = append(r.Findings[i].Evidence, w.ownThrottling()...)
		}
	}
	// What is critical comes first even where a warning adds up to more time: it is what the verdict is about.
	slices.SortStableFunc(r.Findings, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(rank(x.Severity), rank(y.Severity)), cmp.Compare(y.pain, x.pain))
	})
	r.Findings = joinSame(r.Findings)
	for i := range r.Findings {
		r.Findings[i].Text = r.Findings[i].Sentence()
	}
	switch {
	case len(r.Findings) > 0 && r.Findings[0].Severity == Critical:
		r.Verdict = Fault
	case slices.ContainsFunc(r.Coverage, func(c Coverage) bool { return c.Blind() }):
		r.Verdict = Blind
	case w.sawTraffic():
	case unseenPackets(r.Coverage) >= silentPackets, w.lostSight(r.Coverage), w.counts.MissedRecords > 0:
		r.Verdict = Blind
	case w.answeredAlone() > 0:
	default:
		r.Verdict = NoTraffic
	}
	r.Summary = summarize(&r, w)
	return r
}

func rank(s Severity) int { return slices.Index([]Severity{Critical, Warning, Info}, s) }

// sawTraffic tells whether packets were seen on their way in the window. A record of a TCP connection is no packet, and a lost one
// of which nothing else is known may be a stray.
func (w *window) sawTraffic() bool {
	lost := func(d aggregate.DropCount) bool { return d.Loss && d.Stage != journey.Unknown }
	return len(w.counts.InFlight) > 0 || slices.ContainsFunc(w.counts.Drops, lost) ||
		slices.ContainsFunc(w.counts.Pairs, func(p aggregate.Pair) bool { return p.Packets > 0 || slices.ContainsFunc(p.Drops, lost) })
}

// confidence is how sure a finding is: samples/(samples+2), so that 3 make 0.6 and 100 make 0.98, times how far the
// evidence agrees (0 to 1, where none at all still leaves half), times the share of records that was not missed.
func confidence(samples, agreement float64, s *aggregate.Snapshot) float64 {
	c := samples / (samples + 2) * (0.5 + 0.5*agreement)
	if s.MissedRecords > 0 {
		c *= 1 - float64(s.MissedRecords)/float64(s.MissedRecords+s.Records)
	}
	return max(0.01, c)
}
