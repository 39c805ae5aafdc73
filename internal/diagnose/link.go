package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// recentlyDown is for how long a device that went down is news. One that is down for longer has been given up.
const recentlyDown = 10 * time.Minute

// linkCauses are overlay and uplink devices that went down, or away, and what was lost for it.
func linkCauses(w *window) []Finding {
	found := w.downAllAlong()
	for _, name := range w.downed() {
		down := w.isDown(name)
		// A device that goes down takes its routes with it.
		routed := slices.DeleteFunc(routes(), func(r route) bool { return r.cause != NoRoute && r.cause != Neighbour })
		lost := w.losses.take(func(d *aggregate.DropCount) bool {
			if d.Direction == journey.In {
				return false
			}
			return d.Device == name && down && d.Stage == journey.Unknown ||
				slices.ContainsFunc(routed, func(r route) bool { return r.explains(d, 0) })
		})
		f := Finding{
			Kind: KindDrop, Cause: LinkDown, Severity: Critical, Stage: journey.Queue, Device: name, Direction: journey.Out,
			Confidence: 0.95, Next: []string{"ip -d -s link show dev " + name, "ip route show table all", "journalctl -k --since -15min"},
			subject: name, claim: "is down",
		}
		downs, ups := 0, 0
		for i := range w.to.Events {
			e := &w.to.Events[i]
			if e.Kind != netdev.LinkEvent || e.Device != name || e.Time.Before(w.from.Taken.Add(-onset)) {
				continue
			}
			if e.Down {
				downs++
			} else {
				ups++
			}
		}
		switch {
		case down:
			f.Evidence = []string{name + " is down, or gone, at the end of the window"}
		case downs > 1:
			f.claim = fmt.Sprintf("went down %s", plural(uint64(downs), "time"))
			f.Evidence = []string{fmt.Sprintf("%s went down %s and came up again %s within the window and the minute before it",
				name, plural(uint64(downs), "time"), plural(uint64(ups), "time"))}
		default: // it is back
			f.Severity, f.claim = Warning, "was down for a while"
			f.Evidence = []string{name + " went down and is up again"}
		}
		if n := packetsOf(lost); n > 0 {
			if n >= minFine { // back or not, it hurt
				f.Severity = Critical
			}
			f.Drops = &Drops{Packets: n, Reason: reasonOf(lost)}
			f.pain = float64(n) * aggregate.MinRTO / w.seconds()
			f.Evidence = append(f.Evidence, fmt.Sprintf("%s found no way on meanwhile (%s)", packets(n), strings.Join(reasons(lost), ", ")))
		}
		hits := w.hits(lost)
		pairs := make([]pairQueue, len(hits))
		for i, h := range hits {
			pairs[i] = pairQueue{Pair: h.Pair}
		}
		f.Pairs, f.PairsTotal = names(pairs, nil, nil)
		f.Evidence = append(f.Evidence, w.changes(&f)...)
		found = append(found, f)
	}
	return found
}

// downAllAlong are tunnels that have been down since before the window and about which nobody knows more: a warning, unless
// what pods send out has no answer at all.
func (w *window) downAllAlong() []Finding {
	downed := w.downed()
	var found []Finding
	for i := range w.to.Devices {
		d := &w.to.Devices[i]
		if d.Role != netdev.RoleOverlay || d.Up || slices.Contains(downed, d.Name) {
			continue
		}
		f := Finding{
			Kind: KindDrop, Cause: LinkDown, Severity: Warning, Stage: journey.Queue, Device: d.Name, Direction: journey.Out,
			Confidence: 0.6, Pairs: []Pair{}, Next: []string{"ip -d -s link show dev " + d.Name, "ip route show table all"},
			Evidence: []string{d.Name + " has been down since before this window"},
			subject:  d.Name, claim: "is down",
		}
		if lonely, sent := w.unanswered(); sent >= minFine {
			f.Severity, f.Confidence = Critical, 0.8
			f.pain = float64(sent) * aggregate.MinRTO / w.seconds()
			f.Evidence = append(f.Evidence, fmt.Sprintf("pods sent %s out of the node, and nothing came back for them", packets(sent)))
			f.Pairs, f.PairsTotal = names(lonely, nil, nil)
		}
		found = append(found, f)
	}
	return found
}

// unanswered are the pairs of pods that send out, and how much they sent, if nothing comes in for any of them.
func (w *window) unanswered() ([]pairQueue, uint64) {
	var lonely []pairQueue
	var sent uint64
	for i := range w.counts.Pairs {
		switch p := &w.counts.Pairs[i]; {
		case p.Direction == journey.In && p.DstNamespace != "" && p.Packets > 0:
			return nil, 0
		case p.Direction == journey.Out && p.SrcNamespace != "" && p.DstNamespace != "":
			lonely = append(lonely, pairQueue{Pair: p})
			sent += p.Path.Count()
		}
	}
	return lonely, sent
}

// downed are the overlay and uplink devices that carried packets and went down lately: a virtual function that nobody
// used goes away for the pod that gets it. A device that was down when tracing began may be one
// that nobody uses: every namespace has an idle tunl0 once the module is there.
func (w *window) downed() []string {
	var out []string
	add := func(name string) {
		if w.to.ActiveDevices[name] && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	for i := range w.to.Events {
		e := &w.to.Events[i]
		if e.Kind != netdev.LinkEvent || !e.Down || !e.Role.LeadsOut() {
			continue
		}
		end := w.from.Taken.Add(w.length())
		if w.isDown(e.Device) && end.Sub(e.Time) < recentlyDown || !e.Time.Before(w.from.Taken) {
			add(e.Device)
		}
	}
	for i := range w.from.Devices {
		d := &w.from.Devices[i]
		if d.Up && !d.NoCarrier && d.Role.LeadsOut() && w.isDown(d.Name) {
			add(d.Name)
		}
	}
	return out
}

// isDown tells whether a device is down, or gone, at the end of the window. Where no devices could be read that is not
// known.
func (w *window) isDown(name string) bool {
	return len(w.to.Devices) > 0 && !slices.ContainsFunc(w.to.Devices, func(d netdev.Device) bool { return d.Name == name && d.Up && !d.NoCarrier })
}
