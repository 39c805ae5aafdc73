// Package pairpath is how packets fare between two ends, there and back, over the nodes where these are. Each node's agent records
// its part for some seconds (Recorder, Half); who asks joins the parts (Join), and finds the time on the wire between the nodes from
// the packets that both saw. Ends are addresses: an agent knows the names of its own node's pods alone. It is pure.
package pairpath

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Limits of a Query.
const (
	MinWindow = 100 * time.Millisecond
	MaxWindow = time.Minute
	// MaxAddresses is how many addresses an end may have.
	MaxAddresses = 1000
)

// Query says which packets, and for how long they are watched.
type Query struct {
	Src, Dst []netip.Addr
	Window   time.Duration
}

// The keys of a query in a URL.
const (
	querySrc    = "src"
	queryDst    = "dst"
	queryWindow = "window"
)

// Values is the query as a URL's.
func (q Query) Values() url.Values {
	return url.Values{querySrc: {join(q.Src)}, queryDst: {join(q.Dst)}, queryWindow: {q.Window.String()}}
}

func join(all []netip.Addr) string {
	texts := make([]string, len(all))
	for i, a := range all {
		texts[i] = a.String()
	}
	return strings.Join(texts, ",")
}

// ParseQuery reads what Values wrote.
func ParseQuery(values url.Values) (q Query, err error) {
	if q.Src, err = parseAddresses(values.Get(querySrc)); err != nil {
		return q, fmt.Errorf("parse query: src: %w", err)
	}
	if q.Dst, err = parseAddresses(values.Get(queryDst)); err != nil {
		return q, fmt.Errorf("parse query: dst: %w", err)
	}
	if q.Window, err = time.ParseDuration(values.Get(queryWindow)); err != nil {
		return q, fmt.Errorf("parse query: window: %w", err)
	}
	if q.Window < MinWindow || q.Window > MaxWindow {
		return q, fmt.Errorf("parse query: window: %v is not between %v and %v", q.Window, MinWindow, MaxWindow)
	}
	return q, nil
}

func parseAddresses(text string) (all []netip.Addr, err error) {
	texts := strings.Split(text, ",")
	if len(texts) > MaxAddresses {
		return nil, fmt.Errorf("%d addresses; give at most %d", len(texts), MaxAddresses)
	}
	for _, t := range texts {
		a, err := netip.ParseAddr(t)
		if err != nil {
			return nil, err
		}
		all = append(all, a.Unmap())
	}
	return all, nil
}

// ways tells of a packet between two addresses whether it goes there, or back. Of one within both sets it goes there.
func (q *Query) ways(src, dst [2]netip.Addr) (there, back bool) {
	among := func(set []netip.Addr, either [2]netip.Addr) bool {
		return slices.Contains(set, either[0]) || either[1] != either[0] && slices.Contains(set, either[1])
	}
	switch {
	case among(q.Src, src) && among(q.Dst, dst):
		return true, false
	case among(q.Dst, src) && among(q.Src, dst):
		return false, true
	}
	return false, false
}
