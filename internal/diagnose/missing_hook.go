package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// missingHooks are those that were missing all the time. At a pod's device it is that pod's packets that are not seen: they count by
// their share of all pods'. ended is how many packets for pods came to their end.
func missingHooks(w *window, ended uint64) (rows []Coverage) {
	pods := map[journey.Direction][]MissingHook{}
	for _, h := range w.to.MissingHooks {
		was := func(b MissingHook) bool { return b.Hook == h.Hook && b.Device == h.Device }
		if !slices.ContainsFunc(w.from.MissingHooks, was) {
			continue
		}
		row := Coverage{Ratio: new(0.0), Reason: fmt.Sprintf("the hook %s is missing: %s", h.Hook, brief(h.Reason))}
		if i := slices.IndexFunc(w.to.Devices, func(d netdev.Device) bool { return d.Name == h.Device }); h.Device != "" && i >= 0 {
			d := &w.to.Devices[i]
			row.Device, row.Direction = d.Role.Label(d.Name), directionAt(d.Role, record.TCHook(h.Hook))
			row.Reason = missingReason(h)
			if d.Role == netdev.RolePod {
				pods[row.Direction] = append(pods[row.Direction], h)
				continue
			}
		}
		rows = append(rows, row)
	}
	for direction, missing := range pods {
		if row, ok := missingAtPods(w, direction, missing, ended); ok {
			rows = append(rows, row)
		}
	}
	return rows
}

// missingAtPods is for the hooks of one direction that some pods' devices lack; false if next to nothing passes there. What came to its
// end all the same was seen, unless it may have waited in the device's queue.
func missingAtPods(w *window, direction journey.Direction, missing []MissingHook, ended uint64) (row Coverage, ok bool) {
	var unseen, queued, all uint64
	for i := range w.to.Devices {
		d := &w.to.Devices[i]
		if d.Role != netdev.RolePod {
			continue
		}
		passed := w.sent(d)
		if direction == journey.Out {
			passed = w.received(d)
		}
		all += passed
		if slices.ContainsFunc(missing, func(h MissingHook) bool { return h.Device == d.Name }) {
			unseen += passed
			if direction == journey.In && d.EgressUnseen {
				queued += min(passed, w.mayHaveHeld(d))
			}
		}
	}
	if direction == journey.In {
		unseen -= min(unseen-queued, ended-min(ended, all-unseen+queued))
	}
	row = Coverage{Device: netdev.PodLabel, Direction: direction, Ratio: new(0.0), Seen: all - unseen, DevicePackets: all, Reason: missingReason(missing[0])}
	switch {
	case all == 0: // it is not known how much that is
	case unseen < minCoveragePackets:
		return Coverage{}, false
	default:
		row.Ratio = new(float64(all-unseen) / float64(all))
	}
	if more := len(missing) - 1; more > 0 {
		row.Reason += fmt.Sprintf("; and that of %d more", more)
	}
	return row, true
}

// passedUnhooked is how many packets have passed those of some devices that are unhooked.
func (w *window) passedUnhooked(devices []netdev.Device) (n uint64) {
	for i := range devices {
		if d := &devices[i]; w.isUnhooked(d) {
			n += w.sent(d)
		}
	}
	return n
}

// isUnhooked tells whether a device's egress hook was missing all the time.
func (w *window) isUnhooked(d *netdev.Device) bool {
	missing := func(h MissingHook) bool { return h.Hook == "egress" && h.Device == d.Name }
	return slices.ContainsFunc(w.from.MissingHooks, missing) && slices.ContainsFunc(w.to.MissingHooks, missing)
}

// mayHaveHeld is how many packets a device's qdiscs may have held in the window, at most.
func (w *window) mayHaveHeld(d *netdev.Device) uint64 {
	before := w.deviceBefore(d).Root
	if !before.Is(d.Root) {
		before = netdev.Qdisc{} // it has counted from zero
	}
	return rise(held(d.Root), held(before)) + d.Root.Total(func(q netdev.Qdisc) uint64 { return q.BacklogPackets })
}

// holdInSight are the qdiscs that hold packets only for a rate, which they count as overlimits, or for a device that is busy, which a pod's is
// not. Others hold them for a delay or a time of departure (netem, fq, etf), of which nothing tells.
var holdInSight = []string{"tbf", "htb", "hfsc", "cake", "pfifo_fast", "pfifo", "bfifo", "fq_codel", "sfq", "prio", "mq"}

// heldAtOnce is how many packets may wait while a qdisc counts one overlimit, which it does each time that it has to wait.
const heldAtOnce = 10

// held is how many packets the qdiscs of a tree may have held since they were made.
func held(q netdev.Qdisc) (n uint64) {
	n = heldAtOnce * (q.Overlimits + q.Drops)
	if !q.Class && !slices.Contains(holdInSight, q.Kind) {
		n += q.Packets
	}
	for _, child := range q.Children {
		n += held(child)
	}
	return n
}

func missingReason(h MissingHook) string {
	return fmt.Sprintf("the hook %s of %s is missing: %s", h.Hook, h.Device, brief(h.Reason))
}
