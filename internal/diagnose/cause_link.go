package diagnose

import (
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// linkRules find link-down: overlay and uplink devices that went down, or away, and what was lost for it.
func linkRules(w *window) []Finding {
	found := w.downBefore()
	for _, name := range w.wentDown() {
		found = append(found, w.linkDown(name))
	}
	return found
}

// linkFinding is one of a device that is down.
func linkFinding(name string) Finding {
	return Finding{
		Kind: KindDrop, Cause: LinkDown, Severity: Critical, Stage: journey.Queue, Device: name, Direction: journey.Out,
		Confidence: 0.95, Pairs: []Pair{}, Next: next(LinkDown, "DEVICE", shellWord(name)), subject: name, predicate: "is down",
	}
}

// linkDown is of a device that went down lately, and may be up again.
func (w *window) linkDown(name string) Finding {
	down := w.isDown(name)
	// A device that goes down takes its routes with it.
	lost := w.losses.take(func(d *aggregate.DropCount) bool {
		if d.Direction == journey.In {
			return false
		}
		return d.Device == name && down && d.Stage == journey.Unknown ||
			meansNoRoute(d.Reason, d.Location) || MeansNeighbour(d.Reason, d.Location)
	})
	f := linkFinding(name)
	downs, ups := w.linkChanges(name)
	switch {
	case down:
		f.Evidence = []string{name + " is down, or gone, at the end of the window"}
	case downs > 1:
		f.predicate = fmt.Sprintf("went down %s", plural(downs, "time"))
		f.Evidence = []string{fmt.Sprintf("%s went down %s and came up %s in the window and the minute before it",
			name, plural(downs, "time"), plural(ups, "time"))}
	default: // it is back
		f.Severity, f.predicate = Warning, "was down for a while"
		f.Evidence = []string{name + " went down and is up again"}
	}
	n := packetsOf(lost)
	if n >= minMeasured { // back or not, it hurt
		f.Severity = Critical
	}
	if n > 0 {
		f.Drops = &Drops{Packets: n, Reason: mainReason(lost)}
		f.pain = float64(n) * aggregate.MinRTO / w.seconds()
		f.Evidence = append(f.Evidence, fmt.Sprintf("meanwhile %s could not be sent (%s)", packets(n), strings.Join(reasons(lost), ", ")))
	}
	f.Pairs, f.PairsTotal = hitNames(w.hits(lost))
	if d := deviceNamed(w.to.Devices, name); d != nil && isCard(d) {
		for _, l := range w.cardLosses(d) {
			if card := l.finding(w); card != nil && l.isOfLink(w, card) {
				f.addCard(card)
			}
		}
	}
	f.Evidence = append(f.Evidence, w.changes(&f)...)
	return f
}

// addCard adds what the card has counted, which would be a finding of its own if its link had not been down.
func (f *Finding) addCard(card *Finding) {
	f.ofCard = true
	f.pain += card.pain
	f.Evidence = append(f.Evidence, card.Evidence...)
	if card.Severity == Critical && f.Severity != Critical {
		f.Severity, f.Confidence = Critical, min(f.Confidence, card.Confidence)
	}
	if f.Drops == nil {
		f.Drops = card.Drops
	}
	f.addPairs(card.Pairs)
}

// linkChanges are how often a device went down and came up in the window and shortly before it.
func (w *window) linkChanges(name string) (downs, ups uint64) {
	for i := range w.to.Events {
		e := &w.to.Events[i]
		switch {
		case e.Kind != netdev.LinkEvent || e.Device != name || e.Time.Before(w.from.Taken.Add(-onset)):
		case e.Down:
			downs++
		default:
			ups++
		}
	}
	return downs, ups
}

// downBefore are tunnels that have been down since before the window and about which nothing more is known: a warning,
// unless what pods send out has no answer at all.
func (w *window) downBefore() []Finding {
	recent := w.wentDown()
	var found []Finding
	for i := range w.to.Devices {
		d := &w.to.Devices[i]
		if d.Role != netdev.RoleOverlay || d.Up || slices.Contains(recent, d.Name) {
			continue
		}
		f := linkFinding(d.Name)
		f.Severity, f.Confidence = Warning, 0.6
		f.Evidence = []string{d.Name + " has been down since before this window"}
		if pairs, sent := w.unanswered(); sent >= minMeasured {
			f.Severity, f.Confidence = Critical, 0.8
			f.pain = float64(sent) * aggregate.MinRTO / w.seconds()
			f.Evidence = append(f.Evidence, fmt.Sprintf("pods sent %s to other nodes, and nothing came back", packets(sent)))
			f.Pairs, f.PairsTotal = pairNames(pairs)
		}
		found = append(found, f)
	}
	return found
}

// unanswered are the pairs of pods that send out, and how much they sent, if nothing comes in for any of them.
func (w *window) unanswered() ([]*aggregate.Pair, uint64) {
	var pairs []*aggregate.Pair
	var sent uint64
	for i := range w.counts.Pairs {
		switch p := &w.counts.Pairs[i]; {
		case p.Direction == journey.In && p.DstNamespace != "" && p.Packets > 0:
			return nil, 0
		case p.Direction == journey.Out && p.SrcNamespace != "" && p.DstNamespace != "":
			pairs = append(pairs, p)
			sent += p.Passed()
		}
	}
	return pairs, sent
}

// wentDown are the overlay and uplink devices that carried packets and went down lately (unused ones do not count: an SR-IOV
// virtual function disappears when a pod gets it). A device that was down when tracing began may be an unused one: every
// namespace has an idle tunl0 once the module is there.
func (w *window) wentDown() []string {
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
