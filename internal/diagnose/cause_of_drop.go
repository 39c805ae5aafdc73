package diagnose

import (
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// CauseOfDrop is what the loss of packets in one way means by itself, with what does it in words: the finding that there would be
// if nothing else were known. The cause is "" if neither reason nor function tells; then the words may name what comes into
// question. A queue's drop is the queue's, however many there are.
func CauseOfDrop(key aggregate.DropKey) (cause Cause, words string) {
	switch {
	case !key.Loss:
		return "", ""
	case journey.IsQueueDrop(key.Reason, key.Location):
		return QdiscDrop, "the queue had no room for it, or drops on purpose"
	}
	const packets = 1000
	lost := []aggregate.DropCount{{DropKey: key, Packets: packets, Segments: packets}}
	pair := aggregate.PairKey{SrcNamespace: "one", SrcWorkload: "one", DstNamespace: "another", DstWorkload: "another", Direction: key.Direction}
	start := time.Unix(0, 0)
	r := Diagnose("", Snapshot{Taken: start}, Snapshot{Taken: start.Add(time.Second), Counts: &aggregate.Snapshot{
		Window: time.Second, Records: packets, Drops: lost, Pairs: []aggregate.Pair{{PairKey: pair, Drops: lost}},
	}})
	for i := range r.Findings {
		if f := &r.Findings[i]; f.Kind == KindDrop && f.Cause != UnknownCause {
			return f.Cause, f.subject
		}
	}
	var may []string
	for _, rule := range routingCauses() {
		if rule.mayExplain(&lost[0]) {
			may = append(may, string(rule.cause))
		}
	}
	if len(may) > 0 {
		return "", strings.Join(may, " or ") + ": the function frees for several reasons, and the kernel's counters tell which (`nstat`)"
	}
	return "", ""
}
