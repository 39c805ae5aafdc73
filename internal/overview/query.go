package overview

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
)

// By is the kind of rows. A *By is a flag's value.
type By string

// The kinds of rows.
const (
	ByPair    By = "pair"
	ByFlow    By = "flow"
	ByService By = "service"
	ByDevice  By = "device"
)

// RowKinds are the kinds of rows, in the order in which a person goes through them.
func RowKinds() []By { return []By{ByPair, ByService, ByFlow, ByDevice} }

// Set reads a kind's name.
func (b *By) Set(text string) error {
	for _, kind := range RowKinds() {
		if text == string(kind) {
			*b = kind
			return nil
		}
	}
	return fmt.Errorf("unknown row kind %q; choose pair, service, flow or device", text)
}

func (b *By) String() string { return string(*b) }

// Type is what help calls the value.
func (b *By) Type() string { return "pair|service|flow|device" }

// The limits of a query's interval.
const (
	MinInterval = 100 * time.Millisecond
	MaxInterval = time.Minute
)

// Query is which overview is wanted.
type Query struct {
	By       By
	Interval time.Duration // between two overviews
	Filter   Filter
	Sort     Sort
	Limit    int                // rows at most; 0 for all
	Pair     *aggregate.PairKey // whose Detail is wanted
}

// The keys of a query in a URL.
const (
	queryBy       = "by"
	queryInterval = "interval"
	queryFilter   = "filter"
	querySort     = "sort"
	queryLimit    = "limit"
	queryPair     = "pair"
)

// ParseQuery reads what Values wrote.
func ParseQuery(values url.Values) (q Query, err error) {
	q = Query{By: ByPair, Interval: 2 * time.Second}
	for key := range values {
		value := values.Get(key)
		switch key {
		case queryBy:
			err = q.By.Set(value)
		case queryInterval:
			if q.Interval, err = time.ParseDuration(value); err == nil && (q.Interval < MinInterval || q.Interval > MaxInterval) {
				err = fmt.Errorf("%v is not between %v and %v", q.Interval, MinInterval, MaxInterval)
			}
		case queryFilter:
			q.Filter, err = ParseFilter(value)
		case querySort:
			err = q.Sort.Set(value)
		case queryLimit:
			if q.Limit, err = strconv.Atoi(value); err == nil && q.Limit < 0 {
				err = fmt.Errorf("%d is negative", q.Limit)
			}
		case queryPair:
			q.Pair, err = parsePair(value)
		default:
			err = fmt.Errorf("unknown key; there are by, interval, filter, sort, limit, pair")
		}
		if err != nil {
			return Query{}, fmt.Errorf("parse query: %s: %w", key, err)
		}
	}
	return q, nil
}

// Values is the query as a URL's.
func (q Query) Values() url.Values {
	values := url.Values{queryBy: {string(q.By)}, queryInterval: {q.Interval.String()}, queryLimit: {strconv.Itoa(q.Limit)}}
	if text := q.Filter.String(); text != "" {
		values.Set(queryFilter, text)
	}
	if q.Sort != (Sort{}) {
		values.Set(querySort, q.Sort.String())
	}
	if p := q.Pair; p != nil {
		values.Set(queryPair, strings.Join([]string{p.SrcNamespace, p.SrcWorkload, p.DstNamespace, p.DstWorkload, string(p.Direction)}, "|"))
	}
	return values
}

func parsePair(text string) (*aggregate.PairKey, error) {
	parts := strings.Split(text, "|")
	if len(parts) != 5 {
		return nil, fmt.Errorf("%q is not namespace|workload|namespace|workload|direction", text)
	}
	return &aggregate.PairKey{
		SrcNamespace: parts[0], SrcWorkload: parts[1], DstNamespace: parts[2], DstWorkload: parts[3],
		Direction: journey.Direction(parts[4]),
	}, nil
}
