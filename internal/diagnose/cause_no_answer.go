package diagnose

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// noAnswerRules find no-answer: what was sent and left this node, or reached a pod of it, and got no answer at all. What
// another cause explains is not told again.
func noAnswerRules(w *window) []Finding {
	var beyond, here, empty, open silent
	for i := range w.counts.Unanswered {
		u := &w.counts.Unanswered[i]
		if w.untranslated[u] {
			continue
		}
		to := &beyond
		if u.Direction == journey.Local {
			to = &here
		}
		if u.HalfOpen > 0 {
			to = &open
		}
		if w.hasNoEndpoints(u.Service) && u.DstWorkload == aggregate.UnknownWorkload {
			to = &empty
		}
		severity := w.silence(u)
		if severity == "" && to == &empty && w.goesToNoEndpoint(u) {
			severity = Critical
		}
		if u.Refused {
			w.silent = append(w.silent, u)
		}
		switch severity {
		case Critical:
			to.critical = append(to.critical, u)
			w.silent = append(w.silent, u)
		case Warning:
			to.warning = append(to.warning, u)
		}
	}
	var found []Finding
	if all, severity := empty.worst(); len(all) > 0 {
		f := noAnswer(w, all, severity)
		f.Cause, f.beyond = NoEndpoints, true
		f.subject, f.predicate = "service "+all[0].Service+", which has no ready endpoints,", fmt.Sprintf("answers nothing to %s: %s%s, 0 back", f.Pairs[0].Src, triedBy(all), w.sinceFirst(all))
		f.Evidence = append(f.Evidence, "service "+all[0].Service+" has 0 ready endpoints, by its EndpointSlices, and no rule rejects what is sent to it")
		namespace, name := cutService(all[0].Service)
		f.Next = next(NoEndpoints, "NAMESPACE", namespace, "SERVICE", name)
		found = append(found, f)
	}
	if all, severity := beyond.worst(); len(all) > 0 {
		f := noAnswer(w, all, severity)
		f.beyond = true
		left := w.leaves(&aggregate.Pair{})
		if p := w.pair(all[0].PairKey); p != nil {
			left = w.leaves(p)
		}
		f.subject, f.predicate = w.observer(), fmt.Sprintf("no answer to %s: %s %s%s, 0 back", listed(f.Pairs, f.PairsTotal), triedBy(all), left, w.sinceFirst(all))
		found = append(found, f)
	}
	if all, severity := open.worst(); len(all) > 0 {
		found = append(found, halfOpen(w, all, severity))
	}
	if all, severity := here.worst(); len(all) > 0 {
		f := noAnswer(w, all, severity)
		f.Stage, f.Device, f.Direction = journey.Deliver, netdev.PodLabel, journey.Local
		f.subject, f.predicate = "the pod of "+f.Pairs[0].Dst, fmt.Sprintf("answers nothing to %s: %s reached it%s, 0 back", f.Pairs[0].Src, triedBy(all), w.sinceFirst(all))
		f.Evidence = append(f.Evidence, "the packets reached the pod's device on this node, and nothing came back from it")
		f.Next = []string{"ss -ltnp # in the pod", "iptables-save -c # in the pod", "nft -a list ruleset # in the pod", "ip -s link show dev eth0 # in the pod"}
		found = append(found, f)
	}
	if f := w.silentPods(); f != nil {
		found = append(found, *f)
	}
	return found
}

// goesToNoEndpoint tells whether packets leave for the address of a Service without ready endpoints: whether they ask for an answer
// does not matter, as there is nobody.
func (w *window) goesToNoEndpoint(u *aggregate.Unanswered) bool {
	return u.ToService && u.Client && u.Direction == journey.Out && u.Protocol.Ports() && !u.Refused && u.Tries > maxStrays &&
		lastingSilence(u) && w.triedInVain(u) && !w.comesUnseen(u)
}

// silent are conversations without an answer, by how bad that is.
type silent struct{ critical, warning []*aggregate.Unanswered }

func (s *silent) worst() ([]*aggregate.Unanswered, Severity) {
	if len(s.critical) > 0 {
		return s.critical, Critical
	}
	return s.warning, Warning
}

// silence tells how bad it is that a conversation has no answer; "" if that is no finding.
func (w *window) silence(u *aggregate.Unanswered) Severity {
	if !lastingSilence(u) || u.Refused || 2*u.Dropped >= u.Tries || !involvesPod(&u.PairKey) || w.explainsSilence(u) || !w.wouldSee(u) {
		return ""
	}
	severity := w.severityOf(u)
	if w.tooFewTries(u) {
		return ""
	}
	if severity == Critical && (w.to.DropsUnseen || u.Gone && !goesToOldName(u)) {
		return Warning
	}
	return severity
}

// tooFewTries tells whether answers may have come that were not sampled, or of which the records were missed.
func (w *window) tooFewTries(u *aggregate.Unanswered) bool {
	missed := float64(w.counts.MissedRecords) > maxMissed*float64(w.counts.Records)
	return (missed || u.Sampled && u.Retransmits < minSamples) && u.Tries < minSampledTries
}

// goesToOldName tells of who sends to a pod that has gone whether it is more than a connection that was left over: it begins
// anew each time.
func goesToOldName(u *aggregate.Unanswered) bool {
	return u.First >= oldNameAfter && (u.Protocol != record.ProtocolTCP || u.Connections >= minSamples)
}

// lastingSilence tells whether it was tried for long enough and is tried still, be it at TCP's growing intervals.
func lastingSilence(u *aggregate.Unanswered) bool {
	tried := u.First - u.Last
	return u.Tries >= minSamples && u.Seconds >= minSamples && u.First >= float64(noAnswerThreshold.CriticalSeconds) && u.First >= gapFactor*u.Gap &&
		u.Last <= backoff*tried+initialRTO
}

// severityOf goes by what is to be expected of the protocol and of who does not answer.
func (w *window) severityOf(u *aggregate.Unanswered) Severity {
	switch u.Protocol {
	case record.ProtocolTCP, record.ProtocolSCTP:
		return severityOfConnections(u)
	case record.ProtocolICMP, record.ProtocolICMPv6:
		// A message of an error answers what came, and has no answer itself. A node also sends them for others.
		if !u.Client || u.AddressAnswered || u.Tries < minDatagrams || u.Ifindex == 0 && u.Answers < minSamples {
			return ""
		}
	case record.ProtocolUDP:
		if u.Query && u.Client {
			if u.Tries < minCritical {
				return ""
			}
			break
		}
		fallthrough
	default:
		// Most of what is sent so is never answered, and not all of what once was.
		if !u.Client || u.Answers < minSamples && !w.answeredEarlier(u) || u.Tries < minDatagrams || (u.First-u.Last)/float64(u.Tries) > maxInterval {
			return ""
		}
	}
	if u.Answers >= minSamples || isKnown(u) && !u.PairAnswered {
		return Critical
	}
	return Warning
}

// severityOfConnections is that of a protocol in which each packet is answered.
func severityOfConnections(u *aggregate.Unanswered) Severity {
	known := isKnown(u)
	if u.HalfOpen > 0 {
		return severityOfHalfOpen(u)
	}
	if !u.Client {
		// A client that has gone is no outage, unless nothing else comes from its address either.
		if !known || u.AddressAnswered || u.Retransmits < minSamples {
			return ""
		}
		return Critical
	}
	if u.Others > 0 && (u.OpenAgain || !sentInVain(u)) {
		return ""
	}
	many := u.Tries > maxStrays || u.Connections >= minSamples
	switch {
	case known && (u.Before() || !u.PairAnswered || many):
		return Critical
	case known:
		return Warning
	case u.Before():
		if many {
			return Critical
		}
	case u.Elsewhere >= maxElsewhere: // it looks for whoever may be there
		return ""
	case u.Tries > maxStrays && (u.Wrapped || u.Service != "" || untranslated(u)):
		return Critical
	}
	return Warning
}

// sentInVain tells of a client that hears its server on other connections, or on one where nothing is acknowledged, whether
// TCP says for sure that it tries in vain. Where the server sends the same again and again, it is answered each time.
func sentInVain(u *aggregate.Unanswered) bool {
	certain := u.Again >= minSamples || u.Connections > 0 && u.Retransmits >= minSamples || u.Connections > maxStrays
	return certain && 3*u.Others <= 2*u.Tries
}

// isKnown tells whether the destination is a pod or a node of the cluster.
func isKnown(u *aggregate.Unanswered) bool { return inCluster(u.DstNamespace, u.DstWorkload) }

// untranslated tells whether a pod's packets left for the world with the pod's own address.
func untranslated(u *aggregate.Unanswered) bool {
	return u.Direction == journey.Out && u.Ifindex != 0 && !u.Wrapped && !u.Translated && !isKnown(u)
}

// explainsSilence tells whether something that was found on this node explains that no answer comes.
func (w *window) explainsSilence(u *aggregate.Unanswered) bool {
	back := u.Reverse()
	for i := range w.counts.InFlight {
		if slices.ContainsFunc(w.counts.InFlight[i].Pairs, func(p aggregate.InFlightPair) bool { return p.PairKey == back }) {
			return true // it has come, and waits here
		}
	}
	name := Pair{Src: qualified(u.SrcNamespace, u.SrcWorkload), Dst: qualified(u.DstNamespace, u.DstWorkload)}
	return slices.ContainsFunc(w.found, func(f Finding) bool {
		switch {
		case f.Severity != Critical || f.Kind != KindDrop:
			return false
		case f.Cause == LinkDown:
			return u.Direction != journey.Local
		case f.Cause == Encryption && u.Direction != journey.Local:
			return slices.ContainsFunc(f.Pairs, func(p Pair) bool { return p.Src == name.Src && p.Dst == name.Dst })
		}
		return u.Direction == journey.Local && slices.ContainsFunc(f.Pairs, func(p Pair) bool {
			return p.Src == name.Src && p.Dst == name.Dst || p.Src == name.Dst && p.Dst == name.Src
		})
	})
}

// noAnswer is of conversations that are not answered.
func noAnswer(w *window, all []*aggregate.Unanswered, severity Severity) Finding {
	f := Finding{Kind: KindDrop, Cause: NoAnswer, Severity: severity}
	var tries, packets uint64
	pairs := make([]*aggregate.Pair, len(all))
	for i, u := range all {
		pairs[i] = &aggregate.Pair{PairKey: u.PairKey, Service: u.Service}
		tries += u.Tries
		packets += u.Packets
		f.pain += float64(u.Packets) * w.rto(pairs[i]) / max(u.First, w.seconds())
	}
	f.Pairs, f.PairsTotal = pairNames(pairs)
	f.Drops = &Drops{Packets: packets, Ratio: new(1.0)}
	f.Confidence = inferredConfidence * confidence(float64(tries), 1, w.counts)
	for i, u := range all {
		if i == maxLines {
			f.Evidence = append(f.Evidence, plural(uint64(len(all)-maxLines), "more conversation")+" without an answer")
			break
		}
		f.Evidence = append(f.Evidence, w.describeSilence(u))
	}
	entry, kept := w.keptByConntrack(all)
	f.Evidence = append(f.Evidence, kept...)
	f.Evidence = append(f.Evidence, w.aboutSilence(all)...)
	if w.to.DropsUnseen {
		f.Confidence /= 2
		f.Evidence = append(f.Evidence, "drops on this node are not seen (`tracer check` says why): they may have been lost here")
	}
	f.Evidence = append(f.Evidence, missedEvidence(w.counts)...)
	f.Next = next(NoAnswer, "DESTINATION", all[0].Destination.Addr().String())
	if entry != nil {
		f.Next = append(showEntry(entry), f.Next...)
	}
	return f
}

// describeSilence says who does not answer whom, since when, how often it was tried, and by which protocol.
func (w *window) describeSilence(u *aggregate.Unanswered) string {
	to := u.Destination.String()
	if !u.Client || u.Destination.Port() == 0 {
		to = u.Destination.Addr().String()
	}
	text := fmt.Sprintf("%s → %s at %s (%v): %s", qualified(u.SrcNamespace, u.SrcWorkload), qualified(u.DstNamespace, u.DstWorkload), to,
		u.Protocol, packets(u.Packets))
	if u.HalfOpen > 0 {
		text += " (SYN-ACKs)"
	}
	if u.Connections > 1 && u.Protocol.Ports() {
		text += " of " + plural(u.Connections, "connection")
	}
	text += fmt.Sprintf(" since %s (%s), the last %s ago", w.clock(u.First), seconds(u.First), seconds(u.Last))
	if u.Retransmits > 0 {
		text += fmt.Sprintf(", %s by TCP", plural(u.Retransmits, "retransmission"))
	}
	switch {
	case u.Answers > 0:
		text += "; answered until " + w.clock(u.Answered)
	case u.Established:
		text += "; answered before, as it is established"
	case w.answeredEarlier(u):
		text += "; answered before tracing began, as its entry of the connection table is ASSURED"
	default:
		text += "; never answered since tracing began"
	}
	return text
}

// clock is the time of day so many seconds before the snapshot.
func (w *window) clock(ago float64) string {
	taken := w.counts.Taken
	if taken.IsZero() {
		taken = w.to.Taken
	}
	return taken.Add(-time.Duration(ago * float64(time.Second))).Format("15:04:05")
}

// aboutSilence is what is known besides: where those are that do not answer, and what may be wrong.
func (w *window) aboutSilence(all []*aggregate.Unanswered) (out []string) {
	node, oneNode := all[0].Node, true
	var others, gone, services, own, large int
	var came uint64
	for _, u := range all {
		oneNode = oneNode && u.Node == node
		if u.PairAnswered {
			others++
		}
		if u.HalfOpen == 0 {
			came += u.Others
		}
		if u.Gone {
			gone++
		}
		switch {
		case w.untranslated[u]: // told of by itself
		case u.ToService:
			services++
		case untranslated(u):
			own++
		}
		if u.Retransmits > 0 && u.Largest >= minLargeSegment {
			large++
		}
	}
	if oneNode && node != "" {
		out = append(out, "who does not answer is on "+node)
	}
	if came > 0 {
		out = append(out, fmt.Sprintf("%s came meanwhile on older connections: the way here is open, the way there is not", packets(came)))
	}
	if others > 0 {
		out = append(out, fmt.Sprintf("in %d of these cases the same workloads answer at other addresses or ports: one of several is out", others))
	}
	if gone > 0 {
		out = append(out, "the address has no owner any more: who sends there may go by an old name or by an entry of the connection table (`conntrack -L`)")
	}
	if services > 0 {
		out = append(out, "packets leave for a Service's address, untranslated: kube-proxy's rules translate the protocols and ports of Services alone, so no pings")
	}
	if own > 0 {
		out = append(out, "packets leave for an address outside with the pod's own address: nobody may know the way back (masquerading), and if it is a Service's address, kube-proxy's rules do not translate it")
	}
	if large > 0 {
		out = append(out, "what is sent again is large: an MTU too small on the way would look the same")
	}
	return out
}

// sinceFirst says when the first of them was tried.
func (w *window) sinceFirst(all []*aggregate.Unanswered) string {
	return " since " + w.clock(all[0].First)
}

// triedBy says how much was tried, and by which protocols.
func triedBy(all []*aggregate.Unanswered) string {
	var protocols []string
	var n uint64
	for _, u := range all {
		if name := u.Protocol.String(); !slices.Contains(protocols, name) {
			protocols = append(protocols, name)
		}
		n += u.Packets
	}
	return fmt.Sprintf("%s (%s)", packets(n), strings.Join(protocols, ", "))
}
