package diagnose

import (
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// entryOf is the connection table's entry of a conversation's last packets; nil if it is not known.
func (w *window) entryOf(u *aggregate.Unanswered) *record.ConntrackEntry {
	if !u.Redirected() {
		return nil
	}
	i := slices.IndexFunc(w.to.Conntrack, func(e record.ConntrackEntry) bool {
		return e.Protocol == u.Protocol && e.Source.Addr() == u.Source.Addr() && e.Source.Port() == u.SourcePort && e.Destination == u.Asked
	})
	if i < 0 {
		return nil
	}
	return &w.to.Conntrack[i]
}

// answeredEarlier tells of datagrams to a Service whether they were answered for a while, though perhaps not since tracing began.
func (w *window) answeredEarlier(u *aggregate.Unanswered) bool {
	e := w.entryOf(u)
	return e != nil && e.Assured
}

// keptByConntrack is evidence of entries of the connection table by which datagrams go where they went before, whatever the rules
// say now, and the first of them.
func (w *window) keptByConntrack(all []*aggregate.Unanswered) (first *record.ConntrackEntry, evidence []string) {
	for _, u := range all {
		e := w.entryOf(u)
		if e == nil || len(evidence) == maxLines {
			continue
		}
		if first == nil {
			first = e
		}
		text := fmt.Sprintf("an entry of the connection table translates what %v sends to %v: to %v, until it has sent nothing for %s, even where the Service has other pods by now",
			e.Source, e.Destination, e.Translated.Addr(), plural(uint64(e.Timeout.Seconds()), "second"))
		if u.Gone {
			text += "; that address is nobody's any more"
		}
		evidence = append(evidence, text)
	}
	return first, evidence
}

// showEntry are commands that show an entry, and delete it.
func showEntry(e *record.ConntrackEntry) []string {
	match := fmt.Sprintf("-p %v --orig-src %v --orig-dst %v --orig-port-dst %d", e.Protocol, e.Source.Addr(), e.Destination.Addr(), e.Destination.Port())
	return []string{
		"conntrack -L " + match + " # where does it send to?",
		"conntrack -D " + match + " # where no pod is there: the next packet goes by the rules of now",
	}
}
