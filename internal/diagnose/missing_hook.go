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
		old := w.trafficBefore(d)
		passed := rise(d.Traffic.TxPackets, old.TxPackets)
		if direction == journey.Out {
			passed = rise(d.Traffic.RxPackets, old.RxPackets)
		}
		all += passed
		if slices.ContainsFunc(missing, func(h MissingHook) bool { return h.Device == d.Name }) {
			unseen += passed
			if direction == journey.In && d.EgressUnseen && w.mayHaveHeld(d) {
				queued += passed
			}
		}
	}
	if direction == journey.In {
		unseen -= min(unseen-queued, ended-min(ended, all-unseen))
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

// mayHaveHeld tells whether a device's qdiscs may have held packets in the window.
func (w *window) mayHaveHeld(d *netdev.Device) bool {
	i := slices.IndexFunc(w.from.Devices, func(old netdev.Device) bool { return old.Index == d.Index })
	if i < 0 || w.from.Devices[i].Root.Handle != d.Root.Handle {
		return true
	}
	held := func(q netdev.Qdisc) uint64 {
		if !slices.Contains(holdInSight, q.Kind) {
			return q.Packets
		}
		return q.Overlimits + q.Drops
	}
	waiting := d.Root.Total(func(q netdev.Qdisc) uint64 { return q.BacklogPackets })
	return waiting > 0 || d.Root.Total(held) != w.from.Devices[i].Root.Total(held)
}

// holdInSight are the qdiscs that hold packets only for a rate, which they count as overlimits, or for a device that is busy, which a pod's is
// not. Others hold them for a delay or a time of departure (netem, fq, etf), of which nothing tells.
var holdInSight = []string{"tbf", "htb", "hfsc", "cake", "pfifo_fast", "pfifo", "bfifo", "fq_codel", "sfq", "prio", "mq"}

func missingReason(h MissingHook) string {
	return fmt.Sprintf("the hook %s of %s is missing: %s", h.Hook, h.Device, brief(h.Reason))
}
