package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/netdev"
)

// policed judges what tc drops of what pods send by the policers of their devices, where these drop it all: a policer is a limit without
// a queue, as CNIs set it that use Open vSwitch. One that no annotation asks for may be anybody's, and stays what it is.
func (w *window) policed(found []Finding) []Finding {
	for i := range found {
		f := &found[i]
		if f.Cause != PolicyDrop || f.Device != netdev.PodLabel || f.Drops.Reason != "TC_INGRESS" || f.PairsTotal == 0 || len(f.Pairs) != f.PairsTotal {
			continue
		}
		l := &podLimit{sends: true}
		for _, p := range f.Pairs {
			at := slices.IndexFunc(w.to.Devices, func(d netdev.Device) bool { return d.Role == netdev.RolePod && d.Policer > 0 && d.Workload == p.Src })
			if at < 0 {
				l = nil
				break
			}
			d := w.to.Devices[at]
			d.Root, d.Bandwidth = netdev.Qdisc{Kind: "tbf", RateBits: d.Policer}, d.EgressBandwidth // as a shaper would have it
			l.devices, l.workload = append(l.devices, d), d.Workload
		}
		if l == nil {
			continue
		}
		f.Evidence = append(f.Evidence, fmt.Sprintf("tc polices what %s sends, at %s, to %s", l.workload, l.worst().Name, bitRate(l.worst().Policer)))
		if l.asks() == askedNothing { // anybody's
			continue
		}
		f.Severity, f.reason = l.severity(), l.reason()
		f.Evidence = append(f.Evidence, l.judgement())
	}
	return found
}
