package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// mtuRules find mtu where it follows from how devices are set up: a tunnel whose packets with their header are larger than the
// way to its other ends takes. It is a warning as long as the kernel copes, by fragmenting or by telling the senders, and
// critical where packets suffer.
func mtuRules(w *window) (found []Finding) {
	for i := range w.to.Tunnels {
		if t := &w.to.Tunnels[i]; t.Excess() > 0 {
			found = append(found, tooLarge(w, t))
		}
	}
	return found
}

// tooLarge is of a tunnel whose packets do not fit.
func tooLarge(w *window, t *netdev.Tunnel) Finding {
	f := Finding{
		Kind: KindMisconfiguration, Cause: MTU, Severity: Warning, Device: t.Uplink, Pairs: []Pair{}, Confidence: 0.95,
		subject: fmt.Sprintf("the MTU of %s", t.Uplink),
		predicate: fmt.Sprintf("is too small for %s: %s bytes, of the %s that the largest packets have with their header",
			t.Device, group(uint64(t.MTU)), group(uint64(t.Largest+t.Header))),
		Next: []string{
			"ip -d link show dev " + shellWord(t.Device) + "; ip link show dev " + shellWord(t.Uplink),
			"ip route get " + t.Peer.String(),
			"ip -s -s link show dev " + shellWord(t.Uplink) + "; nstat -az IpFragCreates IpFragFails",
			fmt.Sprintf("ip link set dev %s mtu %d # what fits; the pods' MTU too, where the CNI sets it", shellWord(t.Device), t.MTU-t.Header),
		},
	}
	f.Evidence = []string{fmt.Sprintf("packets into %s have up to %s bytes and get a header of %d; the way to %v through %s takes %s",
		t.Device, group(uint64(t.Largest)), t.Header, t.Peer, t.Uplink, group(uint64(t.MTU)))}
	suffers := w.suffersFrom(t, &f)
	for _, c := range []string{"IpFragCreates", "Ip6FragCreates", "IpFragFails", "Ip6FragFails"} {
		if n := w.rise(c); n > 0 {
			f.Evidence = append(f.Evidence, fmt.Sprintf("the kernel's %s rose by %s", c, group(n)))
		}
	}
	if !suffers {
		f.Evidence = append(f.Evidence, "no packet was seen to be lost for it in this window")
	}
	f.Evidence = append(f.Evidence, w.changes(&f)...)
	return f
}

// suffersFrom makes the finding a critical one if packets are lost for it: the uplink drops what comes and is too long, or TCP
// sends large segments again and again.
func (w *window) suffersFrom(t *netdev.Tunnel, f *Finding) bool {
	var hurt []*aggregate.Pair
	for _, c := range w.connected() {
		l, ok := w.lossy(c)
		if ok && l.onlyLarge() && passes(c.Pair, t.Device) {
			hurt = append(hurt, c.Pair)
			f.pain += float64(l.lost) * w.rto(l.Pair) / w.seconds()
			f.Evidence = append(f.Evidence, fmt.Sprintf("TCP of %s → %s sent %s of %.0f bytes (mean) again and again, while those of %.0f bytes were acknowledged",
				qualified(c.SrcNamespace, c.SrcWorkload), qualified(c.DstNamespace, c.DstWorkload),
				plural(l.TCP.RetransmittedAgain, "segment"), l.lostSize(), l.ackedSize()))
		}
	}
	came, dropped := w.tooLong(t.Uplink)
	ratio := float64(dropped) / float64(max(1, came+dropped))
	// A connection that is stuck sends one packet in minutes: what is not explained otherwise counts, however much else goes on.
	drops := dropped >= minCritical && (!w.to.DropsUnseen || ratio >= manyReceiveDrops)
	if !drops && len(hurt) == 0 {
		return false
	}
	f.Kind, f.Severity = KindDrop, Critical
	f.Confidence = confidence(float64(max(dropped, minCritical)), 1, w.counts)
	if drops {
		for i := range w.counts.Pairs {
			if p := &w.counts.Pairs[i]; passes(p, t.Device) && !slices.Contains(hurt, p) {
				hurt = append(hurt, p)
			}
		}
		f.Drops = &Drops{Packets: dropped, Ratio: &ratio, Reason: "rx_dropped"}
		f.pain += float64(dropped) * aggregate.MinRTO / w.seconds()
		f.predicate += fmt.Sprintf("; it drops %s of what comes", percent(ratio))
		f.Evidence = append(f.Evidence, fmt.Sprintf("%s dropped %s that came while it took %s", t.Uplink, packets(dropped), group(came)))
	}
	f.Pairs, f.PairsTotal = pairNames(hurt)
	return true
}

// passes tells whether packets of a pair were seen at a device.
func passes(p *aggregate.Pair, device string) bool {
	return slices.ContainsFunc(p.Stages, func(s aggregate.StageDelay) bool { return s.Device == device })
}

// tooLong is how many packets a device took in the window, and how many it dropped as they came for a reason that the kernel did
// not give: it gives none for what is too long.
func (w *window) tooLong(device string) (came, dropped uint64) {
	now, before := deviceNamed(w.to.Devices, device), deviceNamed(w.from.Devices, device)
	if now == nil || before == nil {
		return 0, 0
	}
	dropped = rise(now.Traffic.RxDrops, before.Traffic.RxDrops)
	return rise(now.Traffic.RxPackets, before.Traffic.RxPackets), dropped - min(dropped, w.unwanted(now, before))
}

// unwanted is how many packets a device may have counted as dropped as they came (rx_dropped) though nobody lost anything: those of
// protocols that nobody handles here, of which most are for a group (LLDP, spanning tree), and those that the kernel freed as such,
// or since a CPU's backlog had no room, which is another cause (net/core/dev.c).
func (w *window) unwanted(now, before *netdev.Device) uint64 {
	n := rise(now.Traffic.RxMulticast, before.Traffic.RxMulticast)
	for i := range w.counts.Drops {
		switch d := &w.counts.Drops[i]; {
		case d.Reason == "UNHANDLED_PROTO", d.Reason == "CPU_BACKLOG",
			unspecified(d.Reason) && slices.Contains([]string{"__netif_receive_skb_core", "enqueue_to_backlog"}, journey.FunctionName(d.Location)):
			n += d.Packets
		}
	}
	return n
}

// deviceNamed is a device by its name; nil if there is none.
func deviceNamed(devices []netdev.Device, name string) *netdev.Device {
	i := slices.IndexFunc(devices, func(d netdev.Device) bool { return d.Name == name })
	if i < 0 {
		return nil
	}
	return &devices[i]
}
