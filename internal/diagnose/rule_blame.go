package diagnose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// blame is which rules of netfilter lost the packets of some flows, as far as their counters or their conditions tell.
type blame struct {
	set   *Ruleset // nil where no rules were read
	rules []record.Rule
	maps  []record.Rule // verdict maps that drop and may have taken them, where there are no such rules
	flows []*LostFlow
	inPod bool
	// remaining tells that the rules are what is left over: nothing tells that they took these packets but that no other rule does.
	remaining bool
}

// maxBlamed bounds the rules that a finding names.
const maxBlamed = 3

// lostAt are the flows of which netfilter lost packets at a place, with the rules there.
func (w *window) lostAt(at aggregate.StageKey) (found []blame) {
	inPod := isInPod(at.Device)
	for i := range w.to.Rulesets {
		b := blame{set: &w.to.Rulesets[i], inPod: inPod}
		if inPod != (b.set.Ifindex != 0) {
			continue
		}
		for j := range b.set.Lost {
			if f := &b.set.Lost[j]; f.Device == at.Device {
				b.flows = append(b.flows, f)
			}
		}
		if len(b.flows) > 0 {
			found = append(found, b)
		}
	}
	return found
}

// blameAt is what is known of who lost the packets of some pairs at a place: in the namespace where most were.
func (w *window) blameAt(at aggregate.StageKey, hits []hit) blame {
	var best blame
	most := uint64(0)
	for _, b := range w.lostAt(at) {
		of := slices.DeleteFunc(slices.Clone(b.flows), func(f *LostFlow) bool {
			return !slices.ContainsFunc(hits, func(h hit) bool { return f.of(&h) })
		})
		if len(of) > 0 {
			b.flows = of
		}
		n := uint64(0)
		for _, f := range b.flows {
			n += max(1, f.Packets)
		}
		if n > most {
			best, most = b, n
		}
	}
	if best.set != nil {
		best.choose()
	}
	return best
}

// of tells whether a flow is of a pair.
func (f *LostFlow) of(h *hit) bool {
	key, dest := h.PairKey, f.Dest
	if dest.Service != "" && h.Service == qualified(dest.Namespace, dest.Service) { // whichever pod of it the pair is named by
		dest = aggregate.Identity{Namespace: key.DstNamespace, Workload: key.DstWorkload}
	}
	return aggregate.SamePair(key, f.Source, dest)
}

// takes is how many of the lost packets a rule may have taken.
func (b *blame) takes(r *record.Rule) (n uint64, any bool) {
	for _, f := range b.flows {
		if f.MayBe(r, b.inPod) {
			n, any = n+f.Packets, true
		}
	}
	return n, any
}

// choose finds the rules: those whose counters rose as the packets were lost, only if there are none those without a counter that
// name their addresses or ports, or verdict maps of which nothing more is known, and only if there are none of these either what
// remains, if that is little: a chain's policy, say.
func (b *blame) choose() {
	type candidate struct {
		*record.Rule
		explains uint64
	}
	var counted, others, remaining []candidate
	for i := range b.set.Rules {
		r := &b.set.Rules[i]
		n, any := b.takes(r)
		switch {
		case !any:
		case r.Counted && r.Packets > 0 && b.set.Until.After(b.set.From):
			counted = append(counted, candidate{r, min(n, r.Packets)})
		case !r.Counted && r.Match.Names():
			others = append(others, candidate{r, n})
		case r.VerdictMap != "":
			// As other rules that ask for a state alone, one of a state is passed over.
			if r.Match.State == "" && len(b.maps) < maxBlamed && !tells(b.maps, r) {
				b.maps = append(b.maps, *r)
			}
		case !r.Counted:
			remaining = append(remaining, candidate{r, n})
		}
	}
	if len(counted) == 0 {
		counted = others
	}
	if len(counted) == 0 && len(b.maps) == 0 && len(remaining) <= maxBlamed && b.set.Unread == "" {
		counted, b.remaining = remaining, len(remaining) > 0
	}
	slices.SortStableFunc(counted, func(x, y candidate) int {
		return cmp.Or(cmp.Compare(y.explains, x.explains), cmp.Compare(x.Packets, y.Packets))
	})
	for _, c := range counted {
		if len(b.rules) < maxBlamed && 5*c.explains >= counted[0].explains && !tells(b.rules, c.Rule) { // less is beside the point
			b.rules = append(b.rules, *c.Rule)
		}
	}
	if len(b.rules) > 0 {
		b.maps = nil
	}
}

// tells tells whether a rule is among some already: one with a verdict map comes once for each address or port that the map drops.
func tells(rules []record.Rule, r *record.Rule) bool {
	return r.VerdictMap != "" && slices.ContainsFunc(rules, func(other record.Rule) bool {
		return other.Handle == r.Handle && other.Family == r.Family && other.Table == r.Table
	})
}

// describe says which rules it was.
func (b *blame) describe() (evidence []string) {
	if b.set == nil {
		return nil
	}
	for i := range b.rules {
		r := &b.rules[i]
		did := map[record.Verdict]string{record.VerdictDrop: "dropped", record.VerdictReject: "rejected", record.VerdictQueue: "handed to user space"}[r.Verdict]
		var line string
		if r.Counted {
			line = fmt.Sprintf("%s %s %s in the %s up to %s", r, did, packets(r.Packets), seconds(b.set.Until.Sub(b.set.From).Seconds()), b.set.Until.Format(time.TimeOnly))
		} else {
			line = fmt.Sprintf("%s matches what was lost; it has no counter", r)
		}
		if b.remaining {
			line = fmt.Sprintf("%s may have taken them; it has no counter, and no rule was found that tells more", r)
		}
		if r.Match.State == "invalid" {
			line += "; it takes what the connection table calls invalid (ct state invalid): packets of connections that it has not seen, or not seen whole"
		}
		if owner := ruleOwner(r); owner != "" {
			line += "; " + owner + " made it"
		}
		evidence = append(evidence, line)
	}
	for i := range b.maps {
		evidence = append(evidence, fmt.Sprintf("%s drops some of what it is asked for, and may have dropped what was lost; it counts nothing by itself", &b.maps[i]))
	}
	if len(b.rules)+len(b.maps) == 0 && b.set.Unread == "" {
		evidence = append(evidence, "no rule was found whose counter rose, or that names the addresses or ports of what was lost")
	}
	if b.set.Unread != "" {
		evidence = append(evidence, "not all rules could be read: "+b.set.Unread)
	}
	return evidence
}

// show are the commands that show the rules.
func (b *blame) show() (commands []string) {
	for _, r := range slices.Concat(b.rules, b.maps) {
		if c := shellCommand(r.Show()); !slices.Contains(commands, c) {
			commands = append(commands, c)
		}
		if c := "kubectl get networkpolicies -A"; enforcesPolicies(ruleOwner(&r)) && !slices.Contains(commands, c) {
			commands = append(commands, c)
		}
	}
	return commands
}

// subject names the rule, if it was one.
func (b *blame) subject() string {
	if len(b.rules) != 1 {
		return ""
	}
	r := b.rules[0]
	r.Comment = "" // it is in the evidence
	return r.String()
}

// describeQueue says what is wrong with the queue that a rule hands packets to, and as a subject who loses them.
func (b *blame) describeQueue(inQueue bool) (subject string, evidence []string) {
	if len(b.rules) == 0 || b.rules[0].Verdict != record.VerdictQueue {
		return "NFQUEUE", []string{"a rule handed them to user space (NFQUEUE), which lost them; queues with a listener: " + numbers(b.queues())}
	}
	r := &b.rules[0]
	name := fmt.Sprintf("NFQUEUE %d", r.Queue)
	if r.Queues > 1 {
		name = fmt.Sprintf("NFQUEUE %d to %d", r.Queue, int(r.Queue)+int(r.Queues)-1)
	}
	listeners := slices.DeleteFunc(slices.Clone(b.queues()), func(q record.NFQueue) bool {
		return q.Number < r.Queue || int(q.Number) >= int(r.Queue)+int(r.Queues)
	})
	if len(listeners) < int(r.Queues) {
		text := name + ": nobody listens there, and the rule has no `bypass`: the kernel drops what it hands on"
		if len(listeners) > 0 {
			text = name + ": nobody listens at all of them, but at " + numbers(listeners) + ", and the rule has no `bypass`"
		}
		if r.Bypass {
			text = name + ": nobody listens there now, and the rule says `bypass`: packets that waited for a listener that ended are dropped"
		}
		return name + ", where nobody listens,", []string{text}
	}
	for _, q := range listeners {
		evidence = append(evidence, describeQueue(&q))
	}
	if !inQueue {
		return "the program that listens at " + name, append(evidence, "the program decided to drop them, or ended while they waited")
	}
	return name + ", which is full,", evidence
}

func (b *blame) queues() []record.NFQueue {
	if b.set == nil {
		return nil
	}
	return b.set.Queues
}

// describeQueue is a line of the kernel's table of queues.
func describeQueue(q *record.NFQueue) string {
	state := ""
	switch {
	case q.Dropped > 0:
		state = ": it is or was full, as its listener is too slow"
	case q.UserDropped > 0:
		state = ": the socket of its listener is or was full"
	}
	return fmt.Sprintf("NFQUEUE %d%s: %s wait, %s dropped as the queue was full and %s as the listener's socket was, of %s since portid %d listens (/proc/net/netfilter/nfnetlink_queue)",
		q.Number, state, packets(q.Waiting), group(q.Dropped), group(q.UserDropped), group(q.Sequence), q.PortID)
}

func numbers(queues []record.NFQueue) string {
	var all []string
	for _, q := range queues {
		all = append(all, fmt.Sprint(q.Number))
	}
	if all == nil {
		return "none"
	}
	return strings.Join(all, ", ")
}
