package aggregate

import "tracer/internal/record"

// debt is how many records of a kind the kernel made and nobody read. The records read afterwards stand for them as
// well: they are of the same traffic, only a little later. Counts so come out right for whole seconds, not for each
// flow; a flow that was active only while records were lost stays unseen.
type debt struct {
	owed  uint64
	rate  uint64 // how many each record pays back
	since uint64 // records read since the last report
}

// maxRate bounds how many lost records one record stands for, so that the first one after a long gap does not become
// a spike. What is owed then is paid back later.
const maxRate = 64

// report adds n lost records, and spreads all that is owed evenly over as many records as were read since the last
// report: reports come at about equal times.
func (d *debt) report(n uint64) {
	d.owed += n
	read := max(1, d.since)
	d.rate = min((d.owed+read-1)/read, maxRate)
	d.since = 0
}

// pay returns how many lost records the next one stands for beside itself.
func (d *debt) pay() uint64 {
	d.since++
	n := min(d.owed, d.rate)
	d.owed -= n
	return n
}

// AddMissed says that n more records of a kind were lost since it was last called. Call it about once a second, also
// with 0: the next records are weighted so as to make up for the loss.
func (a *Aggregator) AddMissed(kind record.Kind, n uint64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lost += n
	if int(kind) < len(a.debts) {
		a.debts[kind].report(n)
	}
}
