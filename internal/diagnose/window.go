package diagnose

import (
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// window is what happened between two snapshots of a node, with what several rules look at, worked out once.
type window struct {
	node     string
	from, to Snapshot
	counts   *aggregate.Snapshot                       // of what happened in it, without pairs of which requests alone are known
	requests map[aggregate.PairKey]*aggregate.Requests // by who asked whom, without a direction
	queues   []*queue
	// losses are the packets lost that no cause has claimed yet.
	losses losses
	byKey  map[aggregate.PairKey]*aggregate.Pair // by pair
	remote []connected                           // nil until somebody asks for them
	// ends are which pairs have the same endpoints, by a number for each; waiting is for how long, in seconds, packets of pairs
	// have waited in queues at the end. Both are nil until somebody asks.
	ends    []int
	waiting map[*aggregate.Pair]float64
	// asked are the pairs whose requests are slow, and handshakes how long those with other nodes take: see slowHandshakes. Both likewise.
	asked      []*slowRequests
	askedOver  []*slowRequests // of these, those that remote-delay has told of
	handshakes map[string]float64
	found      []Finding // of the groups of rules asked so far
	// coverage is how much was seen of it, the least first.
	coverage  []Coverage
	silent    []*aggregate.Unanswered // what no-answer is about, if that is critical, and what is refused
	podLosses []aggregate.PairKey     // what pod-loss is about
	// untranslated is what not-translated is about.
	untranslated map[*aggregate.Unanswered]bool
}

func newWindow(node string, from, to Snapshot) *window {
	if to.Counts == nil {
		to.Counts = &aggregate.Snapshot{}
	}
	from.Devices, from.NICs = byPresentNames(from, to.Devices)
	w := &window{node: node, from: from, to: to}
	w.counts, w.requests = requestsOf(to.Counts.Since(from.Counts))
	w.losses = lossesOf(w.counts)
	w.queues = queuesOf(w)
	w.coverage = coverageOf(w)
	return w
}

func (w *window) length() time.Duration { return w.to.Taken.Sub(w.from.Taken) }

// seconds is how long the window is, and never nothing: rates are taken by it.
func (w *window) seconds() float64 { return max(w.length().Seconds(), 1e-3) }

// inFlightBefore is what was in flight when the window began; nil if that is not known.
func (w *window) inFlightBefore() []aggregate.InFlight {
	if w.from.Counts == nil {
		return nil
	}
	return w.from.Counts.InFlight
}

// rto is the time after which a lost packet of the pair is sent again, in seconds.
func (w *window) rto(p *aggregate.Pair) float64 { return p.RTO(w.reverse(p)) }

// reverse is the pair of what comes back to a pair's sender; nil if nothing does.
func (w *window) reverse(p *aggregate.Pair) *aggregate.Pair { return w.pair(p.Reverse()) }

// pair is the one of that key; nil if nothing of it was seen.
func (w *window) pair(key aggregate.PairKey) *aggregate.Pair {
	if w.byKey == nil {
		w.byKey = make(map[aggregate.PairKey]*aggregate.Pair, len(w.counts.Pairs))
		for i := range w.counts.Pairs {
			w.byKey[w.counts.Pairs[i].PairKey] = &w.counts.Pairs[i]
		}
	}
	return w.byKey[key]
}

// rise is by how much one of the kernel's IP counters rose in the window; 0 if that is not known. One that is left out is
// 0.
func (w *window) rise(counter string) uint64 {
	if w.from.Stats.Protocols == nil {
		return 0
	}
	now, then := w.to.Stats.Protocols[counter], w.from.Stats.Protocols[counter]
	return now - min(now, then)
}

// softnet is what softirqs counted in the window; false if that is not known.
func (w *window) softnet() (record.Softnet, bool) {
	now, then := w.to.Stats.Softnet, w.from.Stats.Softnet
	if now == nil || then == nil {
		return record.Softnet{}, false
	}
	return record.Softnet{
		Processed:   now.Processed - min(now.Processed, then.Processed),
		Dropped:     now.Dropped - min(now.Dropped, then.Dropped),
		TimeSqueeze: now.TimeSqueeze - min(now.TimeSqueeze, then.TimeSqueeze),
	}, true
}

// conntrack is what the connection table counted in the window, with its size now; false if that is not known.
func (w *window) conntrack() (record.Conntrack, bool) {
	now, then := w.to.Stats.Conntrack, w.from.Stats.Conntrack
	if now == nil || then == nil {
		return record.Conntrack{}, false
	}
	return record.Conntrack{
		Entries: now.Entries, Max: now.Max,
		InsertFailed: now.InsertFailed - min(now.InsertFailed, then.InsertFailed),
		Drop:         now.Drop - min(now.Drop, then.Drop),
		EarlyDrop:    now.EarlyDrop - min(now.EarlyDrop, then.EarlyDrop),
	}, true
}
