package diagnose

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/hist"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// podLimit is a shaper by which the CNI limits the pods of a workload: on the node's end of their veth what they receive, on an
// ifb what they send (plugins/meta/bandwidth, and others after its example).
type podLimit struct {
	workload string // namespace/name; "" where it is not known whose pods these are
	devices  []netdev.Device
	sends    bool // it limits what they send
	// paced is, where no shaper holds the packets but fq until the time at which each may leave (earliest departure time, as Cilium's
	// bandwidth manager sets it), how many bits a second the annotation asks for.
	paced uint64
}

// asked is what a pod's annotation says of a limit.
type asked string

const (
	askedFor     asked = "asked for"     // the annotation asks for that rate
	askedNothing asked = "asked nothing" // no annotation is known
	askedOther   asked = "asked other"   // it asks for another rate
)

// asks tells what the annotation of the pod behind a device says of its limit.
func asks(d *netdev.Device) asked {
	rate, want := float64(d.Root.ShapedTo()), float64(d.Bandwidth)
	switch {
	case want == 0:
		return askedNothing
	case rate > 0.9*want && rate < 1.1*want:
		return askedFor
	}
	return askedOther
}

// asks is what the annotations say: the worst of them.
func (l *podLimit) asks() asked {
	if l.paced > 0 {
		return askedFor // how fast the times let the packets leave stands nowhere
	}
	worst := askedFor
	for i := range l.devices {
		switch asks(&l.devices[i]) {
		case askedOther:
			return askedOther
		case askedNothing:
			worst = askedNothing
		}
	}
	return worst
}

// severity is that of a limit that bites: a pod that gets what its annotation asks for is well.
func (l *podLimit) severity() Severity {
	switch l.asks() {
	case askedFor:
		return Info
	case askedOther:
		return Critical
	}
	return Warning
}

// limitsPod tells whether a device's shaper is a limit of the CNI for a pod. An ifb that gets packets from other devices than pods'
// shapes something else.
func (w *window) limitsPod(d *netdev.Device) bool {
	if d.Root.ShapedTo() == 0 || has(d.Root, "netem") || w.to.ExpectQdisc[d.Name] == d.Root.Kind {
		return false
	}
	switch d.Role {
	case netdev.RolePod:
		return d.Bandwidth > 0 || setByPlugin(&d.Root)
	case netdev.RoleIFB:
		return !slices.ContainsFunc(w.to.Devices, func(from netdev.Device) bool {
			return from.Role != netdev.RolePod && slices.Contains(d.RedirectedFrom, from.Index)
		})
	}
	return false
}

// setByPlugin knows the shapers of the CNI's bandwidth plugin by what it sets, always with handle 1: (plugins/meta/bandwidth): a tbf of
// 25 ms beyond its burst, be that of the 2^32 bits that containerd passes, whose time does not fit into the kernel's field; from
// version 1.5 on an htb with class 1:30.
func setByPlugin(root *netdev.Qdisc) bool {
	if root.Handle != "1:" {
		return false
	}
	switch root.Kind {
	case "tbf":
		if root.LimitUnit != "bytes" || root.RateBits == 0 {
			return false
		}
		beyond, meant := float64(root.Limit-min(root.Limit, root.Burst)), 0.025*float64(root.RateBits)/8
		return math.Abs(beyond-meant) <= 2+meant/100 || root.Limit >= hugeBurst // the kernel's clock rounds what it keeps as a time
	case "htb":
		return slices.ContainsFunc(root.Children, func(c netdev.Qdisc) bool { return c.Class && c.Handle == "1:30" })
	}
	return false
}

// podLimits are the limits among devices, one for each workload that is known, and the devices without one.
func (w *window) podLimits(devices []netdev.Device) (limits []*podLimit, rest []netdev.Device) {
	for i := range devices {
		d := &devices[i]
		if !w.limitsPod(d) {
			rest = append(rest, *d)
			continue
		}
		at := slices.IndexFunc(limits, func(l *podLimit) bool { return l.workload == d.Workload })
		if at < 0 {
			at = len(limits)
			limits = append(limits, &podLimit{workload: d.Workload, sends: d.Role == netdev.RoleIFB})
		}
		limits[at].devices = append(limits[at].devices, *d)
	}
	return limits, rest
}

// concerns tells of a pair whether the limit is one for its packets.
func (l *podLimit) concerns(p *aggregate.PairKey) bool {
	if l.sends {
		return l.workload == qualified(p.SrcNamespace, p.SrcWorkload)
	}
	return l.workload == qualified(p.DstNamespace, p.DstWorkload)
}

// byLimit divides a queue of several devices: each limited workload has one of its own, and so have the devices without a limit.
func (q *queue) byLimit(w *window) []*queue {
	if q.stage != journey.Queue {
		return []*queue{q}
	}
	if q.isFQ() {
		var all []*queue
		for _, l := range w.paced(q.devices) {
			all = append(all, q.take(l))
		}
		return append(all, q)
	}
	limits, rest := w.podLimits(q.devices)
	if len(limits) == 0 {
		return []*queue{q}
	}
	if len(limits) == 1 && len(rest) == 0 { // whoever they are
		q.limit, q.threshold = limits[0], podLimitQueue
		return []*queue{q}
	}
	var all []*queue
	for _, l := range limits {
		if l.workload != "" {
			all = append(all, q.take(l))
		}
	}
	if len(rest) > 0 {
		q.devices, q.threshold = rest, thresholdOf(rest, w.to.ExpectQdisc)
	} else { // of pods that are not known: nor is what qdiscs hold and have counted for those alone
		q.limit, q.threshold, q.unread = &podLimit{devices: q.devices, sends: limits[0].sends}, podLimitQueue, true
	}
	return append(all, q)
}

// isFQ tells whether packets wait in fq and nowhere else.
func (q *queue) isFQ() bool {
	return len(q.devices) > 0 && !slices.ContainsFunc(q.devices, func(d netdev.Device) bool { return !onlyLeaves(&d.Root, "fq") })
}

// paced are the limits of pods whose annotation limits what they send, while no shaper is known that does so: the packets that these
// devices hold back are theirs on purpose.
func (w *window) paced(devices []netdev.Device) (limits []*podLimit) {
	for i := range w.to.Devices {
		d := &w.to.Devices[i]
		shaped := slices.ContainsFunc(w.to.Devices, func(ifb netdev.Device) bool { return slices.Contains(ifb.RedirectedFrom, d.Index) })
		known := slices.ContainsFunc(limits, func(l *podLimit) bool { return l.workload == d.Workload })
		if d.Role == netdev.RolePod && d.EgressBandwidth > 0 && d.Workload != "" && !shaped && !known {
			limits = append(limits, &podLimit{workload: d.Workload, devices: devices, sends: true, paced: d.EgressBandwidth})
		}
	}
	return limits
}

// beyondHorizon tells, of what a program at the egress of a device dropped, that it belongs to a limit: where fq holds a pod's packets
// until the times that its CNI sets, the program which sets them drops what would have to wait for too long.
func (w *window) beyondHorizon(found []Finding) []Finding {
	for i := range found {
		f := &found[i]
		if f.Cause != PolicyDrop || f.Drops.Reason != "TC_EGRESS" || len(f.Pairs) != f.PairsTotal {
			continue
		}
		held := func(p Pair) bool {
			return slices.ContainsFunc(w.queues, func(q *queue) bool {
				return q.limit != nil && q.limit.paced > 0 && q.limit.workload == p.Src && q.device == f.Device && q.hasFinding
			})
		}
		if len(f.Pairs) == 0 || slices.ContainsFunc(f.Pairs, func(p Pair) bool { return !held(p) }) {
			continue
		}
		f.Severity = Info
		f.reason = "its annotation limits what it sends, and fq holds back the rest"
		f.Evidence = append(f.Evidence, "info: fq holds these packets at that device for the pod's limit; the program that sets their times drops what would wait for too long")
	}
	return found
}

// take moves a limit's packets from the queue to one of their own. Of packets in flight it is not known how old each pair's are: they are
// moved if all are the limit's.
func (q *queue) take(l *podLimit) *queue {
	taken := &queue{device: q.device, stage: q.stage, direction: q.direction, devices: l.devices, before: q.before, unread: q.unread,
		limit: l, threshold: podLimitQueue}
	var left []pairStage
	for _, p := range q.pairs {
		if !l.concerns(&p.PairKey) {
			left = append(left, p)
			continue
		}
		taken.pairs = append(taken.pairs, p)
		if p.delay != nil {
			taken.delay.Merge(p.delay)
			taken.passed += p.delay.Count()
		}
		for _, d := range p.Drops {
			if isQueueLoss(&d) && d.Device == q.device && d.Loss {
				taken.drops = append(taken.drops, d)
				taken.dropped += d.Packets
			}
		}
	}
	q.pairs = left
	q.delay.Sub(&taken.delay)
	q.passed -= min(q.passed, taken.passed)
	q.dropped -= min(q.dropped, taken.dropped)
	others := slices.ContainsFunc(q.inFlightPairs, func(p aggregate.PairKey) bool { return !l.concerns(&p) })
	if q.inFlight > 0 && len(q.inFlightPairs) > 0 && !others {
		taken.inFlight, taken.ages, taken.oldest, taken.inFlightPairs = q.inFlight, q.ages, q.oldest, q.inFlightPairs
		q.inFlight, q.ages, q.oldest, q.inFlightPairs = 0, hist.Histogram{}, 0, nil
	}
	return taken
}

// fullLimit is of a limit whose rate is used up, while it holds and drops no more than its shaper has to.
func (q *queue) fullLimit(w *window) *Finding {
	full := q.limit.paced == 0 && slices.ContainsFunc(q.limit.devices, func(d netdev.Device) bool {
		use, known := w.shaperUse(&d)
		return known && use.isFull()
	})
	if !full {
		return nil
	}
	f := &Finding{
		Kind: KindDelay, Cause: QdiscDelay, Severity: q.limit.severity(), Stage: q.stage, Device: q.device, Direction: q.direction,
		Delay: &Delay{InFlight: q.inFlight}, Next: q.next(), subject: q.subject(), predicate: "is used up", reason: q.reason(),
		Confidence: confidence(float64(q.passed), 1, w.counts),
	}
	if q.inFlight > 0 {
		f.Delay.Oldest = &q.oldest
	}
	if q.delay.Count() > 0 {
		f.Delay.P50, f.Delay.P99 = new(q.delay.Quantile(0.5)), new(q.delay.Quantile(0.99))
	}
	f.Evidence = append(q.describe(w), q.delayEvidence(&q.delay, nil)...)
	if q.dropped > 0 {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s of %s were dropped (%s)", group(q.dropped), packets(q.arrived()), strings.Join(reasons(q.drops), ", ")))
	}
	f.Evidence = append(append(f.Evidence, q.limit.judgement()), missedEvidence(w.counts)...)
	f.Pairs, f.PairsTotal = pairNames(pairsOf(q.pairs))
	return f
}

// subject is the limit in a summary.
func (l *podLimit) subject() string {
	what, whose := "receive", l.workload
	if l.sends {
		what = "send"
	}
	if whose == "" {
		return "the limit of what pods " + what
	}
	return fmt.Sprintf("the limit of what %s %ss, at %s,", whose, what, l.devices[0].Name)
}

// reason sets the limit beside what the annotation asks for, in a summary.
func (l *podLimit) reason() string {
	if l.paced > 0 {
		return fmt.Sprintf("the pod's annotation lets it send %s", bitRate(l.paced))
	}
	d := l.worst()
	rate, want := d.Root.ShapedTo(), d.Bandwidth
	switch asks(d) {
	case askedFor:
		return fmt.Sprintf("%s is what the pod's annotation asks for", bitRate(want))
	case askedOther:
		return fmt.Sprintf("it lets %s pass and the pod's annotation asks for %s%s", bitRate(rate), bitRate(want), unitMistaken(rate, want))
	}
	return fmt.Sprintf("it lets %s pass, and no annotation is known that asks for it", bitRate(rate))
}

// judgement says in evidence why the severity is what it is.
func (l *podLimit) judgement() string {
	if l.paced > 0 {
		return fmt.Sprintf("info: the pod's annotation kubernetes.io/egress-bandwidth lets it send %s: fq holds its packets until the times at which they may leave", bitRate(l.paced))
	}
	d := l.worst()
	annotation := "kubernetes.io/ingress-bandwidth"
	if l.sends {
		annotation = "kubernetes.io/egress-bandwidth"
	}
	rate, want := d.Root.ShapedTo(), d.Bandwidth
	switch asks(d) {
	case askedFor:
		return fmt.Sprintf("info: the pod's annotation %s asks for %s, and the pod uses them: what it does beyond waits or is dropped on purpose", annotation, bitRate(want))
	case askedOther:
		return fmt.Sprintf("critical: the annotation %s asks for %s, and the qdisc lets %s pass%s", annotation, bitRate(want), bitRate(rate), unitMistaken(rate, want))
	}
	return fmt.Sprintf("warning: a limit like the CNI's bandwidth plugin sets it; no annotation %s is known of the pod (with one that asks for another rate it would be critical)", annotation)
}

// worst is the device that is most unlike what its annotation asks for.
func (l *podLimit) worst() *netdev.Device {
	i := slices.IndexFunc(l.devices, func(d netdev.Device) bool { return asks(&d) == askedOther })
	if i < 0 {
		i = max(0, slices.IndexFunc(l.devices, func(d netdev.Device) bool { return asks(&d) == askedNothing }))
	}
	return &l.devices[i]
}

// unitMistaken says by which mistake a rate may have come of another one; "" if none is known.
func unitMistaken(rate, want uint64) string {
	near := func(a, b float64) bool { return a > 0.95*b && a < 1.05*b }
	got, asked := float64(rate), float64(want)
	switch {
	case want < minAnnotation:
		return " (in an annotation \"m\" is a thousandth, \"M\" a million)"
	case near(got*8, asked), near(got, 8*asked):
		return " (by a factor of 8: bits taken for bytes, or bytes for bits)"
	case near(got*1000, asked), near(got, 1000*asked), near(got*1e6, asked), near(got, 1e6*asked):
		return " (by a factor of thousands: the wrong unit)"
	}
	return ""
}
