package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// nicRules find nic, and mtu and policy-drop where a card's own counters tell of them: packets that an uplink dropped before any
// hook saw them, or behind all hooks.
func nicRules(w *window) []Finding {
	var found []Finding
	for i := range w.to.Devices {
		d := &w.to.Devices[i]
		if !isCard(d) {
			continue
		}
		for _, l := range w.cardLosses(d) {
			if f := l.finding(w); f != nil && !l.isOfLink(w, f) {
				found = append(found, *f)
			}
		}
	}
	return found
}

// isCard tells of an uplink with no device below it, of which the counters are told instead.
func isCard(d *netdev.Device) bool { return d.Role == netdev.RoleUplink && len(d.Lower) == 0 }

// counterRise is by how much one of a card's counters rose in the window.
type counterRise struct {
	netdev.Counter
	packets uint64
}

// cardLoss is what a card dropped in the window for one kind of reason, one way.
type cardLoss struct {
	device, driver string
	class          netdev.CounterClass
	sent           bool
	rises          []counterRise // the highest first
	packets        uint64        // dropped
	passed         uint64        // that it took, or sent
}

// cardLosses are those of one device. A driver may count one packet in several counters, as lost and as dropped: of those with one
// meaning the highest counts, and what they explain is no unspecific drop.
func (w *window) cardLosses(d *netdev.Device) (losses []*cardLoss) {
	before := deviceNamed(w.from.Devices, d.Name)
	if before == nil || before.Index != d.Index {
		return nil
	}
	driver, counters := w.nic(d.Name)
	add := func(c netdev.Counter, n uint64) {
		if n == 0 {
			return
		}
		i := slices.IndexFunc(losses, func(l *cardLoss) bool { return l.class == c.Class && l.sent == c.Sent })
		if i < 0 {
			i = len(losses)
			passed := rise(d.Traffic.RxPackets, before.Traffic.RxPackets)
			if c.Sent {
				passed = rise(d.Traffic.TxPackets, before.Traffic.TxPackets)
			}
			losses = append(losses, &cardLoss{device: d.Name, driver: driver, class: c.Class, sent: c.Sent, passed: passed})
		}
		losses[i].rises = append(losses[i].rises, counterRise{c, n})
	}
	for name, n := range d.Errors {
		if c, ok := netdev.CounterOf("", name); ok {
			add(c, rise(n, before.Errors[name]))
		}
	}
	for name, n := range counters {
		if c, ok := netdev.CounterOf(driver, name); ok {
			add(c, n)
		}
	}
	for _, l := range losses {
		slices.SortFunc(l.rises, func(x, y counterRise) int {
			return cmp.Or(cmp.Compare(y.packets, x.packets), cmp.Compare(x.Name, y.Name))
		})
		l.packets = l.rises[0].packets
	}
	for _, l := range losses {
		if l.class != netdev.Unspecific {
			continue
		}
		explained := uint64(0)
		if !l.sent {
			explained = w.unwanted(d, before)
		}
		for _, other := range losses {
			if other != l && other.sent == l.sent && other.class != netdev.LimitQueued && other.class != netdev.LimitDropped {
				explained += other.packets
			}
		}
		l.packets -= min(l.packets, explained)
	}
	slices.SortFunc(losses, func(x, y *cardLoss) int {
		return cmp.Or(cmp.Compare(y.packets, x.packets), cmp.Compare(x.class, y.class))
	})
	return losses
}

// nic is a device's driver, and by how much its counters rose in the window.
func (w *window) nic(device string) (driver string, rises map[string]uint64) {
	at := func(nics []netdev.NIC) *netdev.NIC {
		if i := slices.IndexFunc(nics, func(n netdev.NIC) bool { return n.Device == device }); i >= 0 {
			return &nics[i]
		}
		return nil
	}
	now, before := at(w.to.NICs), at(w.from.NICs)
	if now == nil {
		return "", nil
	}
	if before == nil || before.Driver != now.Driver {
		return now.Driver, nil
	}
	rises = make(map[string]uint64)
	for name, n := range now.Counters {
		if then, known := before.Counters[name]; known {
			rises[name] = rise(n, then)
		}
	}
	return now.Driver, rises
}

// isOfLink tells whether a card could not send, which would be the finding f, since its link was down, of which link-down tells. The
// counters do not say when: so where it was down but once, it is that if TCP lost as much.
func (l *cardLoss) isOfLink(w *window, f *Finding) bool {
	if !l.sent || l.class != netdev.SendFailed && l.class != netdev.Unspecific || !slices.Contains(w.wentDown(), l.device) {
		return false
	}
	downs, _ := w.linkChanges(l.device)
	return f.PairsTotal > 0 || downs > 1 || w.isDown(l.device)
}

// threshold is what the losses are judged by.
func (l *cardLoss) threshold() Threshold {
	switch l.class {
	case netdev.TooLong:
		return mtuThreshold
	case netdev.LimitDropped:
		return limitThreshold
	case netdev.LimitQueued:
		return queuedThreshold
	case netdev.ByXDP:
		return xdpThreshold
	case netdev.Unspecific:
		return unspecificThreshold
	}
	return nicThreshold
}

// finding makes one of what a card dropped, unless that is too little.
func (l *cardLoss) finding(w *window) *Finding {
	t := l.threshold()
	ratio := float64(l.packets) / float64(max(1, l.packets+l.passed))
	// What TCP lost by that uplink beyond all hooks is this, where there is enough of it.
	hurt, lost := w.lostBy(l.device)
	explains := l.class != netdev.TooLong && lost > 0 && float64(l.packets) >= explainedShare*float64(lost)
	if l.packets < minSamples || ratio < t.WarnLoss && !explains {
		return nil
	}
	f := &Finding{
		Kind: KindDrop, Cause: NIC, Severity: Warning, Device: l.device, Pairs: []Pair{},
		Drops:   &Drops{Packets: l.packets, Ratio: &ratio, Reason: l.rises[0].Name},
		subject: l.device, ofCard: true,
		pain: float64(l.packets) * aggregate.MinRTO / w.seconds(),
	}
	way, verb := "of what came", "dropped"
	if l.sent {
		way = "of what was sent"
		f.Direction = journey.Out
	}
	certainty := 1.0
	switch l.class {
	case netdev.TooLong:
		f.Cause = MTU
	case netdev.ByXDP:
		f.Cause = PolicyDrop
		f.subject = "an XDP program at " + l.device
	case netdev.LimitQueued:
		verb = "dropped or held back"
		certainty = 0.5
	case netdev.Unspecific:
		certainty = 0.5
	}
	f.predicate = fmt.Sprintf("%s %s %s: %s", verb, percent(ratio), way, l.rises[0].Meaning)
	if explains || ratio >= t.CriticalLoss && l.packets >= max(t.CriticalCount, minCritical) {
		f.Severity = Critical
	}
	f.Confidence = confidence(float64(l.packets), certainty, w.counts)
	if l.class == netdev.LimitDropped {
		f.predicate = fmt.Sprintf("lost %s to a limit: %s", packets(l.packets), l.rises[0].Meaning)
	}
	for _, r := range l.rises {
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s of %s rose by %s beside %s %s: %s", r.Name, l.device, group(r.packets), group(l.passed),
			map[bool]string{false: "packets received", true: "packets sent"}[l.sent], r.Meaning))
	}
	if l.driver != "" {
		f.Evidence = append(f.Evidence, fmt.Sprintf("the driver of %s is %s", l.device, l.driver))
	}
	if explains {
		f.pain = 0
		for _, p := range hurt {
			f.pain += float64(p.lost) * w.rto(p.Pair) / w.seconds()
			f.Evidence = append(f.Evidence, fmt.Sprintf("TCP of %s → %s sent %s again that no hook saw lost",
				qualified(p.SrcNamespace, p.SrcWorkload), qualified(p.DstNamespace, p.DstWorkload), plural(p.lost, "segment")))
		}
		f.Evidence = f.Evidence[:min(len(f.Evidence), maxLines+len(l.rises)+1)]
		pairs := make([]*aggregate.Pair, len(hurt))
		for i := range hurt {
			pairs[i] = hurt[i].Pair
		}
		f.Pairs, f.PairsTotal = pairNames(pairs)
	}
	f.Next = l.next()
	return f
}

// lostBy are the pairs of which TCP sends again by an uplink what no hook saw lost, those that lose most first.
func (w *window) lostBy(uplink string) (pairs []lossy, lost uint64) {
	for _, c := range w.connected() {
		if l, ok := w.lossy(c); ok && !l.onlyLarge() && w.leavesBy(c.Pair, uplink) {
			pairs = append(pairs, l)
			lost += l.lost
		}
	}
	slices.SortStableFunc(pairs, func(x, y lossy) int { return cmp.Compare(y.lost, x.lost) })
	return pairs, lost
}

// leavesBy tells whether a pair's packets were seen at a device, or may have left by it: it is an uplink, and they were seen at no
// other, as those that end at a tunnel, and those that no uplink queues. While it is down they leave by another that is up.
func (w *window) leavesBy(p *aggregate.Pair, device string) bool {
	if passes(p, device) {
		return true
	}
	may, down := false, w.isDown(device)
	for i := range w.to.Devices {
		switch d := &w.to.Devices[i]; {
		case d.Role != netdev.RoleUplink:
		case d.Name == device:
			may = true
		case passes(p, d.Name), down && d.Up && !d.NoCarrier:
			return false
		}
	}
	return may
}

// next are the commands that show more.
func (l *cardLoss) next() []string {
	device := shellWord(l.device)
	show := fmt.Sprintf("ethtool -S %s | grep -F '%s'; ip -s -s link show dev %s", device, grepFor(l.rises[0].Name), device)
	switch l.class {
	case netdev.RingFull, netdev.NoMemory:
		return []string{show, "ethtool -g " + device + "; ethtool -l " + device + " # then larger rings: ethtool -G, more queues: ethtool -L",
			"mpstat -P ALL 1 3; cat /proc/interrupts | grep " + device}
	case netdev.Damaged:
		return []string{show, "ethtool " + device + "; ethtool -m " + device}
	case netdev.TooLong:
		return []string{show, "ip link show dev " + device + " # and on the other nodes: is their MTU larger?"}
	case netdev.ByXDP:
		return []string{show, "ip link show dev " + device + "; bpftool net show dev " + device}
	case netdev.LimitDropped, netdev.LimitQueued:
		return []string{show, "ethtool -S " + device + " | grep -E 'allowance|_phy' # which limit; a larger machine has higher ones"}
	}
	return []string{show, "ethtool -S " + device + " | grep -E 'drop|miss|err|discard'"}
}

// grepFor is the longer part of a counter's name, before or behind a queue's number.
func grepFor(name string) string {
	before, after, _ := strings.Cut(name, "*")
	if len(before) >= len(after) {
		return before
	}
	return after
}
