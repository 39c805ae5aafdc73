package diagnose

import (
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// wouldSee tells whether an answer would have been seen. TCP's own word that none came is enough. Otherwise hooks must have
// seen what TCP received, and what the device of the pod has counted; what comes by one hook is seen by none.
func (w *window) wouldSee(u *aggregate.Unanswered) bool {
	if u.ByOneHook && u.Unreplied < minSamples {
		return u.Retransmits > 0
	}
	if u.Retransmits > 0 {
		return true
	}
	if w.comesUnseen(u) {
		return false
	}
	var toPods, fromPods uint64
	for i := range w.to.Devices {
		if d := &w.to.Devices[i]; d.Role == netdev.RolePod {
			toPods, fromPods = toPods+d.Traffic.TxPackets, fromPods+d.Traffic.RxPackets
		}
	}
	// Packets that are redirected to a pod past its device are in no counter of it.
	return u.Answers > 0 || u.Ifindex == 0 || w.to.Counts.AnswersSeen >= minSamples || float64(toPods) >= minToPods*float64(fromPods)
}

// comesUnseen tells whether something came to the sender that no hook saw: TCP received it, or the pod's device counted it.
func (w *window) comesUnseen(u *aggregate.Unanswered) bool {
	if w.counts.AnswersUnseen >= minSamples && w.counts.AnswersUnseen > w.counts.AnswersSeen {
		return true
	}
	return slices.ContainsFunc(w.to.Devices, func(d netdev.Device) bool {
		return d.Role == netdev.RolePod && d.Index == u.Ifindex && float64(w.toPodUnseen(&d, u)) >= 0.5*float64(u.Tries)*min(1, w.seconds()/u.First)
	})
}

// toPodUnseen is how many packets a pod's device has passed to it in the window, less those that were seen on their way to
// the sender's workload.
func (w *window) toPodUnseen(d *netdev.Device, u *aggregate.Unanswered) uint64 {
	at := slices.IndexFunc(w.from.Devices, func(old netdev.Device) bool { return old.Index == d.Index })
	if at < 0 {
		return 0
	}
	passed := d.Traffic.TxPackets - min(d.Traffic.TxPackets, w.from.Devices[at].Traffic.TxPackets)
	seen := 0.0
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		if p.Direction != journey.Out && p.DstNamespace == u.SrcNamespace && p.DstWorkload == u.SrcWorkload {
			seen += p.Packets
		}
	}
	return passed - min(passed, uint64(seen))
}
