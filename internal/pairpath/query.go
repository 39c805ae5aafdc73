// Package pairpath is how packets fare between two ends, there and back, over the nodes where these are. Each node's agent records
// its part for some seconds (Recorder, Half); who asks joins the parts (Join), and finds the time on the wire between the nodes from
// the packets that both saw. Ends are addresses: an agent knows the names of its own node's pods alone. It is pure.
package pairpath

import (
	"fmt"
	"net/netip"
	"net/url"
	"strings"
	"time"
)

// Limits of a Query.
const (
	MinWindow = 100 * time.Millisecond
	MaxWindow = time.Minute
	// maxAddresses is how many addresses an end may have, for an agent.
	maxAddresses = 1000
	// maxEncoded is how many bytes a query may have in a URL: an agent takes a header of 16 KiB.
	maxEncoded = 15 << 10
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
	if len(texts) > maxAddresses {
		return nil, fmt.Errorf("%d addresses; give at most %d", len(texts), maxAddresses)
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

// Check says what of a query no agent takes: too many addresses for a request's header.
func (q Query) Check() error {
	if n := len(q.Values().Encode()); n > maxEncoded {
		return fmt.Errorf("%d and %d addresses are more than a request to an agent holds (%d of %d bytes): name some pods of each end", len(q.Src), len(q.Dst), n, maxEncoded)
	}
	return nil
}

// side tells at which ends an address is.
type side uint8

const (
	atSrc side = 1 << iota
	atDst
)

// sides are the addresses of both ends.
func (q *Query) sides() map[netip.Addr]side {
	all := make(map[netip.Addr]side, len(q.Src)+len(q.Dst))
	for _, a := range q.Src {
		all[a] |= atSrc
	}
	for _, a := range q.Dst {
		all[a] |= atDst
	}
	return all
}
