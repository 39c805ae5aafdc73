package overview

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Sort is the order of rows. The zero Sort has those first that hurt most. A *Sort is a flag's value.
type Sort struct {
	Key     string // one of SortKeys; "" for pain
	Reverse bool
}

// order compares rows by one column, so that those come first that a person looks for: the most, or the first by name.
type order struct {
	key     string
	compare func(x, y *Row) int
}

func byMost(value func(*Row) float64) func(x, y *Row) int {
	return func(x, y *Row) int { return cmp.Compare(value(y), value(x)) }
}

func byName(value func(*Row) string) func(x, y *Row) int {
	return func(x, y *Row) int { return cmp.Compare(value(x), value(y)) }
}

func orders() []order {
	return []order{
		{"pain", byMost(func(r *Row) float64 { return r.Pain })},
		{"src", byName(func(r *Row) string { return r.Src.String() })},
		{"dst", byName(func(r *Row) string { return r.Dst.String() })},
		{"dir", byName(func(r *Row) string { return string(r.Direction) })},
		{"pps", byMost(func(r *Row) float64 { return r.PacketsPerSecond })},
		{"bps", byMost(func(r *Row) float64 { return r.BitsPerSecond })},
		{"p50", byMost(func(r *Row) float64 { return r.Path.p50() })},
		{"p99", byMost(func(r *Row) float64 { return r.Path.p99() })},
		{"worst", byName(func(r *Row) string { return r.Worst.String() })},
		{"drops", byMost(func(r *Row) float64 { return r.Drops.PerSecond })},
		{"rtt", byMost(func(r *Row) float64 { return r.TCP.rtt() })},
		{"resent", byMost(func(r *Row) float64 { return r.TCP.perSecond() })},
		{"requests", byMost(func(r *Row) float64 { return r.Requests.perSecond() })},
		{"request-p50", byMost(func(r *Row) float64 { return r.Requests.client() })},
		{"server-p50", byMost(func(r *Row) float64 { return r.Requests.server() })},
		{"held", byMost(func(r *Row) float64 { return r.InFlight })},
	}
}

// SortKeys are the columns to sort by.
func SortKeys() []string {
	var keys []string
	for _, s := range orders() {
		keys = append(keys, s.key)
	}
	return keys
}

// Set reads a column's name; a minus before it reverses the order.
func (s *Sort) Set(text string) error {
	key, reverse := strings.CutPrefix(text, "-")
	if !slices.Contains(SortKeys(), key) {
		return fmt.Errorf("there is no column %q to sort by; choose %s, each with - before it for the reverse", key, strings.Join(SortKeys(), ", "))
	}
	*s = Sort{key, reverse}
	return nil
}

func (s *Sort) String() string {
	key := cmp.Or(s.Key, "pain")
	if s.Reverse {
		return "-" + key
	}
	return key
}

// Type is what help calls the value.
func (s *Sort) Type() string { return "column" }

// Rows returns the first rows in this order, up to a limit if that is not 0. Equal ones come by name, so that they stay in place
// from one window to the next.
func (s Sort) Rows(rows []Row, limit int) []Row {
	key := cmp.Or(s.Key, "pain")
	all := orders()
	compare := all[slices.IndexFunc(all, func(x order) bool { return x.key == key })].compare
	order := make([]*Row, len(rows)) // rows are large: moving pointers is far quicker
	for i := range rows {
		order[i] = &rows[i]
	}
	slices.SortFunc(order, func(x, y *Row) int {
		by := compare(x, y)
		if s.Reverse {
			by = -by
		}
		if by != 0 {
			return by
		}
		return x.compareNames(y)
	})
	if limit > 0 {
		order = order[:min(limit, len(order))]
	}
	sorted := make([]Row, len(order))
	for i, r := range order {
		sorted[i] = *r
	}
	return sorted
}

func (r *Row) compareNames(o *Row) int {
	return cmp.Or(cmp.Compare(r.ServiceName(), o.ServiceName()), r.Src.compare(&o.Src), r.Dst.compare(&o.Dst),
		cmp.Compare(r.Direction, o.Direction), cmp.Compare(r.Protocol, o.Protocol))
}

func (e *Party) compare(o *Party) int {
	return cmp.Or(cmp.Compare(e.Namespace, o.Namespace), cmp.Compare(e.Pod, o.Pod), cmp.Compare(e.Workload, o.Workload),
		cmp.Compare(e.Address, o.Address))
}
