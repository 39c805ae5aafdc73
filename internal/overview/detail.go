package overview

import (
	"cmp"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/trace"
)

// Detail is one pair with all that is known of it.
type Detail struct {
	Row      Row           `json:"row"`
	InFlight []InFlight    `json:"held"`
	Drops    []Drop        `json:"drops"`
	History  []Trend       `json:"history"`
	Requests *RequestTrend `json:"request_history,omitempty"` // null if it has asked nothing in that time
	Slowest  []trace.Trace `json:"slow"`                      // the slowest journeys that ended in the window, slowest first
}

// Trend is the p50 of a pair's stage over the last minutes, oldest first; null where nothing passed.
type Trend struct {
	Place
	EverySeconds float64    `json:"every_seconds"`
	P50          []*float64 `json:"p50_seconds"`
}

// detail is one pair's, also if none of its packets was seen in the window.
func (b *builder) detail(key aggregate.PairKey) *Detail {
	pair := aggregate.Pair{PairKey: key}
	if i := slices.IndexFunc(b.Window.Pairs, func(p aggregate.Pair) bool { return p.PairKey == key }); i >= 0 {
		pair = b.Window.Pairs[i]
	}
	d := &Detail{Row: b.pair(&pair, b.inFlightByPair()[key]), InFlight: b.inFlightOf(&key), Drops: b.dropsOf(pair.Drops), History: b.History, Requests: b.RequestHistory, Slowest: b.Slowest}
	if d.History == nil {
		d.History = []Trend{}
	}
	b.orderTrends(d.History)
	if d.Requests != nil {
		b.orderTrends(d.Requests.Stages)
	}
	if d.Slowest == nil {
		d.Slowest = []trace.Trace{}
	}
	return d
}

// orderTrends sorts trends as packets pass their stages, and always in the same way.
func (b *builder) orderTrends(trends []Trend) {
	slices.SortFunc(trends, func(x, y Trend) int {
		return cmp.Or(cmp.Compare(b.rank(x.Place), b.rank(y.Place)), cmp.Compare(x.Device, y.Device), cmp.Compare(x.Stage, y.Stage))
	})
}
