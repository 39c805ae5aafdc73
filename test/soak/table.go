package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// row is a quantity with the line through its values.
type row struct {
	quantity
	line
	limit float64
}

const (
	flat  = "flat"
	grows = "**grows**"
	// unclear is a line that rises above the limit, by values that scatter so much that it need not.
	unclear = "unclear: run for longer"
)

func (r row) verdict() string {
	switch {
	case r.least > r.limit, r.never && r.high > 0:
		return grows
	case r.growth > r.limit:
		return unclear
	}
	return flat
}

// judge lays lines through all that was measured from a time on. What was measured too few times to lay one is the error; the others
// have their rows.
func judge(measured map[string]*series, from time.Duration) (rows []row, err error) {
	known := slices.Clone(quantities)
	for _, name := range slices.Sorted(maps.Keys(measured)) {
		for prefix, q := range map[string]quantity{"entries of ": mapLimit, "slots of ": slotLimit} {
			if strings.HasPrefix(name, prefix) {
				q.name = name
				known = append(known, q)
			}
		}
	}
	for _, q := range known {
		s, there := measured[q.name]
		if !there {
			s = new(series)
		}
		if !q.never {
			s = s.since(from)
		}
		if len(s.values) < 2*blocks {
			err = errors.Join(err, fmt.Errorf("%s was measured %d times only: run for longer", q.name, len(s.values)))
			continue
		}
		r := row{quantity: q, line: s.fit()}
		r.limit = q.relative*r.mean + q.absolute
		rows = append(rows, r)
	}
	return rows, err
}

// write prints the table as Markdown.
func write(w io.Writer, rows []row) {
	fmt.Fprintln(w, "| what | mean | least | most | growth by the line | of that for sure | limit | |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|")
	for _, r := range rows {
		name := r.name
		if r.unit != "" {
			name += ", " + r.unit
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s | %s | %.3g | %s |\n", name, figure(r.mean), figure(r.low), figure(r.high),
			growth(r.growth, r.mean), growth(max(r.least, 0), r.mean), r.limit, r.verdict())
	}
}

// growth is how much a quantity of that mean grew, without what is the arithmetic's.
func growth(v, mean float64) string {
	if v < 1e-9*(1+mean) && v > -1e-9*(1+mean) {
		return "0"
	}
	return fmt.Sprintf("%+.3g", v)
}

func figure(v float64) string {
	if v == float64(int(v)) {
		return fmt.Sprintf("%d", int(v))
	}
	if v >= 1000 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}
