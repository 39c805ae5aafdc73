package overview

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"tracer/internal/filter"
)

// Filter chooses the rows that meet all of its terms. A term is a text that is part of the row's names, or compares a field:
// "web p99>10ms device=tunl0 drops>0". The zero Filter takes every row.
type Filter struct {
	text  string
	terms []func(*Row) bool
}

// textFields are the fields that hold text; "=" means that they contain it.
var textFields = map[string]func(*Row) []string{
	"src":     func(r *Row) []string { return []string{r.Src.String(), r.Src.Workload, r.Src.Address} },
	"dst":     func(r *Row) []string { return []string{r.Dst.String(), r.Dst.Workload, r.Dst.Address} },
	"service": func(r *Row) []string { return []string{r.ServiceName()} },
	"dir":     func(r *Row) []string { return []string{string(r.Direction)} },
	"proto":   func(r *Row) []string { return []string{r.Protocol} },
	"reason":  func(r *Row) []string { return []string{r.Drops.Reason} },
	"worst":   func(r *Row) []string { return []string{r.Worst.String()} },
	"stage": func(r *Row) (names []string) {
		for i := range r.Stages {
			names = append(names, string(r.Stages[i].Stage))
		}
		return names
	},
	"device": func(r *Row) (names []string) {
		for i := range r.Stages {
			names = append(names, r.Stages[i].Device)
		}
		return names
	},
}

// numberFields are the fields that are compared with a number, timeFields those that are with a time.
var (
	numberFields = map[string]func(*Row) float64{
		"pps":    func(r *Row) float64 { return r.PacketsPerSecond },
		"bps":    func(r *Row) float64 { return r.BitsPerSecond },
		"drops":  func(r *Row) float64 { return r.Drops.PerSecond },
		"resent": func(r *Row) float64 { return r.TCP.perSecond() },
		"held":   func(r *Row) float64 { return r.InFlight },
	}
	timeFields = map[string]func(*Row) float64{
		"p50": func(r *Row) float64 { return r.Path.p50() },
		"p99": func(r *Row) float64 { return r.Path.p99() },
		"rtt": func(r *Row) float64 { return r.TCP.rtt() },
		"age": func(r *Row) float64 { return r.OldestSeconds },
	}
)

// fields names all of them.
func fields() string {
	var names []string
	for name := range textFields {
		names = append(names, name)
	}
	for name := range numberFields {
		names = append(names, name)
	}
	for name := range timeFields {
		names = append(names, name)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// ParseFilter reads a filter. An error is a *filter.SyntaxError.
func ParseFilter(text string) (Filter, error) {
	f := Filter{text: strings.TrimSpace(text)}
	for rest := strings.TrimLeftFunc(text, unicode.IsSpace); rest != ""; {
		at, end := len(text)-len(rest), len(text)
		if n := strings.IndexFunc(rest, unicode.IsSpace); n >= 0 {
			end = at + n
		}
		match, err := parseTerm(text, at, end)
		if err != nil {
			return Filter{}, err
		}
		f.terms = append(f.terms, match)
		rest = strings.TrimLeftFunc(text[end:], unicode.IsSpace)
	}
	return f, nil
}

// parseTerm reads the term that is text[from:to].
func parseTerm(text string, from, to int) (func(*Row) bool, error) {
	term := text[from:to]
	i := strings.IndexAny(term, "<>=")
	if i < 0 {
		want := strings.ToLower(term)
		return func(r *Row) bool { return r.mentions(want) }, nil
	}
	name, operator := term[:i], term[i:i+1]
	if strings.HasPrefix(term[i:], ">=") || strings.HasPrefix(term[i:], "<=") {
		operator = term[i : i+2]
	}
	value, at := term[i+len(operator):], from+i+len(operator)
	fail := func(at int, format string, args ...any) error {
		return &filter.SyntaxError{Text: text, At: at, Problem: fmt.Sprintf(format, args...)}
	}
	if value == "" {
		return nil, fail(at, "a value is missing after %s%s", name, operator)
	}
	if field, ok := textFields[name]; ok {
		if operator != "=" {
			return nil, fail(from+i, "%s is compared by = alone", name)
		}
		want := strings.ToLower(value)
		return func(r *Row) bool {
			return slices.ContainsFunc(field(r), func(s string) bool { return strings.Contains(strings.ToLower(s), want) })
		}, nil
	}
	field, limit := numberFields[name], 0.0
	if field == nil {
		if field = timeFields[name]; field == nil {
			return nil, fail(from, "there is no field %q; there are %s", name, fields())
		}
		d, err := filter.ParseDuration(text, at, to)
		if err != nil {
			return nil, err
		}
		limit = d.Seconds()
	} else {
		var err error
		if limit, err = parseNumber(value); err != nil {
			return nil, fail(at, "%q is no number; k, M and G may follow one", value)
		}
	}
	switch operator {
	case ">":
		return func(r *Row) bool { return field(r) > limit }, nil
	case ">=":
		return func(r *Row) bool { return field(r) >= limit }, nil
	case "<":
		return func(r *Row) bool { return field(r) < limit }, nil
	case "<=":
		return func(r *Row) bool { return field(r) <= limit }, nil
	}
	return func(r *Row) bool { return field(r) == limit }, nil
}

// parseNumber reads a number with k, M or G behind it, or nothing.
func parseNumber(text string) (float64, error) {
	factor := 1.0
	for suffix, f := range map[string]float64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if rest, ok := strings.CutSuffix(text, suffix); ok {
			text, factor = rest, f
			break
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	return v * factor, err
}

// mentions tells whether a text is somewhere in the row's names.
func (r *Row) mentions(want string) bool {
	for _, s := range []string{
		r.Src.String(), r.Dst.String(), r.Src.Workload, r.Dst.Workload, r.Src.Address, r.Dst.Address, r.ServiceName(), r.Protocol,
		string(r.Direction), r.Worst.String(), r.Drops.Reason,
	} {
		if strings.Contains(strings.ToLower(s), want) {
			return true
		}
	}
	return false
}

// String is the filter as it was read.
func (f Filter) String() string { return f.text }

// match tells whether a row meets all terms.
func (f Filter) match(r *Row) bool {
	for _, match := range f.terms {
		if !match(r) {
			return false
		}
	}
	return true
}

// Apply returns the rows that match. It may use the memory of those given.
func (f Filter) Apply(rows []Row) []Row {
	if len(f.terms) == 0 {
		return rows
	}
	return slices.DeleteFunc(rows, func(r Row) bool { return !f.match(&r) })
}
