package aggregate

import "tracer/internal/record"

// compensation makes the records of a kind count also for those that found no room in the ring buffer. The records read next
// take over their weight: they are of the same traffic, only a little later. So
// counts are right over whole seconds, but not flow by flow: a flow that was active only while records were missed stays
// unseen.
type compensation struct {
	pending   uint64 // missed records that no other counts for yet
	perRecord uint64 // how many of them each record takes over
	read      uint64 // records read since the last report
}

// maxPerRecord bounds how many missed records one record counts for, so that the first one after a long gap does not become a
// spike. The others stay pending.
const maxPerRecord = 64

// report adds n missed records and spreads all that are pending evenly over as many records as were read since the last
// report: reports come at about equal times.
func (c *compensation) report(n uint64) {
	c.pending += n
	read := max(1, c.read)
	c.perRecord = min((c.pending+read-1)/read, maxPerRecord)
	c.read = 0
}

// next returns how many missed records the next one counts for beside itself.
func (c *compensation) next() uint64 {
	c.read++
	n := min(c.pending, c.perRecord)
	c.pending -= n
	return n
}

// AddMissed says that n records of a kind were missed since it was last called. Call it about once a second, also with 0:
// the records added next have their weights raised to make up for those.
func (a *Aggregator) AddMissed(kind record.Kind, n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.missedRecords += n
	if int(kind) < len(a.missed) {
		a.missed[kind].report(n)
	}
}
