package main

import (
	"errors"
	"fmt"
	"io"
	"time"

	"tracer/internal/export/metrics"
)

const mib = 1 << 20

// write prints what was measured as Markdown: a column for each agent.
func write(w io.Writer, o options, all []measured) {
	fmt.Fprintf(w, "%d nodes, %d pods, %d Services; %g pods replaced a second (each lives for %.1f hours), for %v; %d pods of other nodes sent to\n\n",
		o.nodes, o.pods, o.services, o.changes, float64(o.pods)/o.changes/3600, o.watch, o.peers)
	row := func(name string, value func(m *measured) string) {
		fmt.Fprintf(w, "| %s |", name)
		for i := range all {
			fmt.Fprintf(w, " %s |", value(&all[i]))
		}
		fmt.Fprintln(w)
	}
	asking := func(value func(m *measured) string) func(m *measured) string {
		return func(m *measured) string {
			if m.scope == noServer {
				return "–"
			}
			return value(m)
		}
	}
	row("one agent", func(m *measured) string {
		switch m.scope {
		case noServer:
			return "names from a file"
		case again:
			return "node scope, started again"
		}
		return m.scope + " scope"
	})
	fmt.Fprint(w, "|---|")
	for range all {
		fmt.Fprint(w, "---|")
	}
	fmt.Fprintln(w)
	seconds := func(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
	row("resident, after the pods were replaced", func(m *measured) string { return fmt.Sprintf("%.1f MiB", float64(m.resident)/mib) })
	row("resident at most", func(m *measured) string { return fmt.Sprintf("%.1f MiB", float64(m.most)/mib) })
	row("live heap", func(m *measured) string { return fmt.Sprintf("%.1f MiB", m.heap/mib) })
	row("CPU while pods are replaced", func(m *measured) string { return fmt.Sprintf("%.1f %% of a core", m.cores*100) })
	row("receives, to know all", asking(func(m *measured) string { return fmt.Sprintf("%.1f MB", float64(m.toKnow)/1e6) }))
	row("receives in an hour", asking(func(m *measured) string { return fmt.Sprintf("%.0f MB", m.perHour/1e6) }))
	row("that is, for a pod that is replaced", asking(func(m *measured) string { return fmt.Sprintf("%.1f kB", m.perHour/3600/o.changes/1e3) }))
	row("all agents together", asking(func(m *measured) string { return fmt.Sprintf("%.0f MB/s", m.perHour/3600*float64(o.nodes)/1e6) }))
	row("saves for the next start", asking(func(m *measured) string { return fmt.Sprintf("%.1f MB", float64(m.saved)/1e6) }))
	row("writes for that in an hour", asking(func(m *measured) string {
		if m.changedIn == 0 {
			return "–"
		}
		// All is written again as soon as the changes are half as large.
		return fmt.Sprintf("%.0f MB", float64(3*m.changes)/1e6*time.Hour.Seconds()/m.changedIn.Seconds())
	}))
	row("first request after the start (it pauses for up to 3 s)", asking(func(m *measured) string { return seconds(m.asked) }))
	row("first pair with both names after the start", asking(func(m *measured) string { return seconds(m.named) }))
	row("knows all after the start", asking(func(m *measured) string { return seconds(m.known) }))
	row("pairs with both names", func(m *measured) string { return fmt.Sprint(m.pairs) })
	row("series", func(m *measured) string { return fmt.Sprint(m.series) })
	row("of these by pair", func(m *measured) string { return fmt.Sprint(m.byPair) })
	for _, m := range all {
		if m.scope != "node" {
			continue
		}
		for _, each := range []struct {
			series int
			what   string
		}{{m.series, "as measured"}, {m.series - m.byPair + metrics.DefaultMaxSeries, "at most, by --max-series"}} {
			all := float64(each.series) * float64(o.nodes)
			p := prometheusFor(all)
			fmt.Fprintf(w, "\nPrometheus, for %d agents with %d series each (%s): %.1f million series, %.0f samples a second, %.0f GB of memory, %.1f TB of disk for %.0f days\n",
				o.nodes, each.series, each.what, all/1e6, p.samples, p.memory/1e9, p.disk/1e12, retention.Hours()/24)
		}
	}
}

// exceeded is what is over the limit of an agent in node scope, in MiB.
func exceeded(all []measured, limit float64) (err error) {
	for _, m := range all {
		if (m.scope == "node" || m.scope == again) && float64(m.resident) > limit*mib {
			err = errors.Join(err, fmt.Errorf("an agent in node scope has %.1f MiB resident, more than %g", float64(m.resident)/mib, limit))
		}
	}
	return err
}
