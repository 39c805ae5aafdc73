package diagnose

import (
	"slices"

	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// seenAtIFB is how many packets that devices received another hook has seen: tc redirected them to an ifb, before ours where there is
// no TCX, and their journeys begin in the ifb's queue.
func (w *window) seenAtIFB(devices []netdev.Device) (n uint64) {
	var seen, counted uint64
	before := byHook(w.from.Coverage)
	for i := range w.to.Coverage {
		now := &w.to.Coverage[i]
		if now.Role != netdev.RoleIFB {
			continue
		}
		was := before[hookKey{now.Device, now.Hook}]
		if was == nil {
			was = &HookCoverage{}
		}
		seen += max(rise(now.After.Packets, was.Before.Packets), rise(now.After.Segments, was.Before.Segments))
		counted += rise(now.Packets, was.Packets)
	}
	if float64(seen) < warnCoverage*float64(counted) || seen == 0 {
		return 0
	}
	for i := range w.to.Devices {
		ifb := &w.to.Devices[i]
		if ifb.Role != netdev.RoleIFB {
			continue
		}
		for j := range devices {
			if slices.Contains(ifb.RedirectedFrom, devices[j].Index) {
				n += w.received(&devices[j])
			}
		}
	}
	return n
}

// endedInPods is how many packets that came to this node for pods had their journey end, as the hooks say where they begin: at the pod's
// socket, where the pod's device has no hook.
func endedInPods(rows []Coverage) (n uint64) {
	for i := range rows {
		if rows[i].Direction == journey.In && rows[i].Device != netdev.PodLabel {
			n += rows[i].Ended
		}
	}
	return n
}

// deviceBefore is a device as it was when the window began; one that has counted nothing if it was not there.
func (w *window) deviceBefore(d *netdev.Device) *netdev.Device {
	if i := slices.IndexFunc(w.from.Devices, func(b netdev.Device) bool { return b.Index == d.Index }); i >= 0 {
		return &w.from.Devices[i]
	}
	return &netdev.Device{}
}

// received and sent are how many packets a device has counted in the window.
func (w *window) received(d *netdev.Device) uint64 {
	return rise(d.Traffic.RxPackets, w.deviceBefore(d).Traffic.RxPackets)
}
func (w *window) sent(d *netdev.Device) uint64 {
	return rise(d.Traffic.TxPackets, w.deviceBefore(d).Traffic.TxPackets)
}

// isPodsIngress tells whether a hook is that of what pods send.
func (c *HookCoverage) isPodsIngress() bool {
	return c.Role == netdev.RolePod && c.Hook == record.Ingress
}
