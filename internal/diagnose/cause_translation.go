package diagnose

import (
	"fmt"
	"net/netip"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/record"
)

// translationRules find not-translated: what leaves this node with an address that nobody beyond it can answer, a Service's or
// a pod's own, and answers that a client does not know since they do not come from the Service that it asked.
func translationRules(w *window) []Finding {
	toServices, bare := w.leftForServices(), w.leftBare()
	w.untranslated = make(map[*aggregate.Unanswered]bool, len(toServices)+len(bare))
	for _, u := range slices.Concat(toServices, bare) {
		w.silent = append(w.silent, u)
		w.untranslated[u] = true
	}
	var found []Finding
	if len(toServices) > 0 {
		found = append(found, serviceNotTranslated(w, toServices))
	}
	if len(bare) > 0 {
		found = append(found, notMasqueraded(w, bare))
	}
	if f := answersNotTranslated(w); f != nil {
		found = append(found, *f)
	}
	return found
}

// leftForServices are conversations whose packets left this node for a Service's virtual address and got no answer, or one of a
// router's that knows no such address. Whether its protocol asks for one does not matter: there is nobody. A ping is not
// translated, and so has none on a healthy node either; and where a Service has no ready endpoints there is nothing to translate to.
func (w *window) leftForServices() (out []*aggregate.Unanswered) {
	for i := range w.counts.Unanswered {
		u := &w.counts.Unanswered[i]
		if u.ToService && u.Client && u.Direction == journey.Out && !w.hasNoEndpoints(u.Service) && u.Protocol.Ports() && (lastingSilence(u) || sentAgain(u)) && w.triedInVain(u) && (u.Retransmits > 0 || !w.comesUnseen(u)) {
			out = append(out, u)
		}
	}
	return out
}

// leftBare are conversations of pods whose private addresses left this node for public ones and got no answer, unless others have
// got one from there: then a router beyond this node translates them.
func (w *window) leftBare() (out []*aggregate.Unanswered) {
	for i := range w.counts.Unanswered {
		u := &w.counts.Unanswered[i]
		if !untranslated(u) || u.OutsideAnswered || !u.Client || !isPrivate(u.Source.Addr()) || !isPublic(u.Destination.Addr()) {
			continue
		}
		if u.Others > 0 && !sentInVain(u) || !asksForAnswer(u) || u.Refused || !lastingSilence(u) || !w.triedInVain(u) || !w.wouldSee(u) {
			continue
		}
		out = append(out, u)
	}
	return out
}

// isPublic tells whether an address is one of the Internet's.
func isPublic(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !isPrivate(a)
}

// isPrivate tells whether nobody in the Internet knows the way to an address: of RFC 1918, RFC 4193 or RFC 6598 (the shared address
// space, from which clouds' CNIs give addresses to pods, too).
func isPrivate(a netip.Addr) bool {
	sharedAddressSpace := netip.PrefixFrom(netip.AddrFrom4([4]byte{100, 64, 0, 0}), 10)
	return a.IsPrivate() || sharedAddressSpace.Contains(a)
}

// asksForAnswer tells whether what is sent asks for an answer, whoever it goes to.
func asksForAnswer(u *aggregate.Unanswered) bool {
	switch u.Protocol {
	case record.ProtocolTCP, record.ProtocolSCTP, record.ProtocolICMP, record.ProtocolICMPv6:
		return true
	}
	return u.Query
}

// sentAgain tells of a connection that was tried for long whether TCP has sent its SYN again and again, at growing intervals.
func sentAgain(u *aggregate.Unanswered) bool {
	return u.Retransmits > 1 && u.First >= float64(noAnswerThreshold.CriticalSeconds) && u.Last <= backoff*(u.First-u.Last)+initialRTO
}

// triedInVain tells whether most of it left this node, and whether nothing explains on this node that no answer came.
func (w *window) triedInVain(u *aggregate.Unanswered) bool {
	return 2*u.Dropped < u.Tries && !w.tooFewTries(u) && !w.explainsSilence(u)
}

// serviceNotTranslated is of packets that left for Services' addresses.
func serviceNotTranslated(w *window, all []*aggregate.Unanswered) Finding {
	f := w.leftUntranslated(all, Critical)
	f.Confidence /= inferredConfidence // it was seen
	var services []string
	for _, u := range all {
		if !slices.Contains(services, u.Service) {
			services = append(services, u.Service)
		}
	}
	first := all[0]
	f.subject, f.predicate = "no rule", "translates "+first.Destination.String()+", the address of service "+first.Service+": "+w.leaving(&f)
	if n := len(services) - 1; n > 0 {
		f.predicate += fmt.Sprintf("; likewise for %s", plural(uint64(n), "more service"))
	}
	f.Evidence = append(f.Evidence, "a Service's address is nobody's: kube-proxy's rules, or those of what stands in for it, turn it into that of a pod")
	translated, others := w.translatedServices(services)
	switch {
	case translated > 0:
		f.Evidence = append(f.Evidence, fmt.Sprintf("meanwhile %s to the same service were translated: by rules for another port, or on connections older than the loss of the rules", packets(translated)))
	case others > 0:
		f.Evidence = append(f.Evidence, fmt.Sprintf("meanwhile %s to other services were translated: only these have no rules; kube-proxy may have stopped before they were made", packets(others)))
	default:
		f.Evidence = append(f.Evidence, "no packet to any service was translated meanwhile: the rules are gone (a firewall was reloaded?), or kube-proxy does not run")
	}
	address, port := first.Destination.Addr().String(), fmt.Sprint(first.Destination.Port())
	_, name := cutService(first.Service)
	f.Next = []string{
		"nft list ruleset | grep -n " + address + "; iptables-save -t nat | grep " + address + "; ipvsadm -Ln | grep " + address,
		"kubectl -n kube-system get pods -o wide -l k8s-app=kube-proxy # does it run on this node?",
		"ip route get " + address + " # where untranslated packets go",
		"kubectl get services,endpointslices -A | grep -w " + name + " # has it port " + port + "?",
	}
	return f
}

// notMasqueraded is of packets that left for the world with pods' own addresses.
func notMasqueraded(w *window, all []*aggregate.Unanswered) Finding {
	var tries uint64
	to := map[netip.Addr]bool{}
	for _, u := range all {
		tries += u.Tries
		to[u.Destination.Addr()] = true
	}
	severity := Warning
	if tries > maxStrays || len(to) > 1 && tries >= minCritical {
		severity = Critical
	}
	f := w.leftUntranslated(all, severity)
	first := all[0]
	f.subject, f.predicate = "nothing", "masquerades what pods send to the world: "+w.leaving(&f)+" from "+first.Source.Addr().String()
	f.Evidence = append(f.Evidence, fmt.Sprintf("%s is a private address: nobody outside knows the way back to it, and %s answered",
		first.Source.Addr(), plural(uint64(len(to)), "address")+" outside never"))
	if first.OutsideMasqueraded {
		f.Evidence = append(f.Evidence, "other packets of pods to the world are translated, and answered: the rule for that leaves these out")
	} else {
		f.Evidence = append(f.Evidence, "unless a router beyond this node is to translate them: then it does not, or does not let them pass")
	}
	device := "DEVICE"
	if d := w.device(first.Ifindex); d != nil {
		device = shellWord(d.Name)
	}
	f.Next = []string{
		"iptables-save -t nat | grep -E 'MASQUERADE|SNAT'; nft list ruleset | grep -nE 'masquerade|snat'",
		fmt.Sprintf("ip route get %s from %s iif %s", first.Destination.Addr(), first.Source.Addr(), device),
		"kubectl -n kube-system get configmap ip-masq-agent -o yaml; kubectl get ippools.crd.projectcalico.org -o yaml | grep natOutgoing",
	}
	return f
}

// leftUntranslated is of conversations whose packets left this node as nobody can answer them.
func (w *window) leftUntranslated(all []*aggregate.Unanswered, severity Severity) Finding {
	f := noAnswer(w, all, severity)
	f.Cause, f.Stage, f.Device, f.Direction = NotTranslated, journey.Forward, all[0].LeftBy, journey.Out
	return f
}

// leaving says what left by which device.
func (w *window) leaving(f *Finding) string {
	text := packets(f.Drops.Packets) + " of " + f.Pairs[0].Src
	if f.PairsTotal > 1 {
		text += " and others"
	}
	text += " left"
	if f.Device != "" {
		text += " by " + f.Device
	}
	return text + " untranslated"
}

// translatedServices are how many packets to some Services, and to all others, were translated in the window.
func (w *window) translatedServices(services []string) (these, others uint64) {
	for i := range w.counts.Pairs {
		p := &w.counts.Pairs[i]
		switch {
		case p.Service == "" || p.DstWorkload == aggregate.UnknownWorkload:
		case slices.Contains(services, p.Service):
			these += uint64(p.Packets)
		default:
			others += uint64(p.Packets)
		}
	}
	return these, others
}
