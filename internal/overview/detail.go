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
	Requests *RequestTrend `json:"request_history,omitempty"` // absent if it has asked nothing in that time
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
	slices.SortFunc(d.History, func(x, y Trend) int { return b.comparePlaces(x.Place, y.Place) })
	if d.Requests != nil {
		slices.SortFunc(d.Requests.Stages, func(x, y RequestStage) int { return b.comparePlaces(x.Place, y.Place) })
	}
	if d.Slowest == nil {
		d.Slowest = []trace.Trace{}
	}
	return d
}

// comparePlaces orders places as packets pass them, and always in the same way.
func (b *builder) comparePlaces(x, y Place) int {
	return cmp.Or(cmp.Compare(b.rank(x), b.rank(y)), cmp.Compare(x.Device, y.Device), cmp.Compare(x.Stage, y.Stage))
}
