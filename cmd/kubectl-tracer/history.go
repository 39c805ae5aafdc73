package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/agents"
	"tracer/internal/cluster"
	"tracer/internal/console"
	"tracer/internal/format"
	"tracer/internal/pairpath"
	"tracer/internal/prometheus"
)

// historyColumns is into how many parts the time is divided.
const historyColumns = 48

// minHistoryWindow is the shortest time over which a rate is taken: some scrapes of it.
const minHistoryWindow = 2 * time.Minute

func newHistoryCommand(flags *clusterFlags) *cobra.Command {
	var output string
	since, limit := 24*time.Hour, 10*time.Second
	cmd := &cobra.Command{
		Use:   "history SRC DST",
		Short: "Show how a pair's stages were in the past, as Prometheus has it",
		Long: `Show how long a pair's packets took in each stage on each node in the past, and what was lost,
from the Prometheus that scrapes the agents: by itself the one that is found by its
Service, else that of --prometheus. Agents keep but one minute, and are not asked.

SRC and DST are as for kubectl tracer path. Prometheus has them by the names that agents
know: by default those of their own node's pods, and of Services.

Exit code: 0 there is something, 3 there is nothing of this pair, 1 could not run.`,
		Example: `  kubectl tracer history web api --since 24h
  kubectl tracer history deploy/web svc/api -n shop --prometheus svc/monitoring/prometheus:9090
  kubectl tracer history web api --prometheus http://thanos:9090 --prometheus-match 'cluster="a"'
  kubectl tracer history web api --since 7d -o json | jq '.series[0].points'`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: flags.ends,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.OneOf("output", output, "text", "json"); err != nil {
				return err
			}
			if since < 10*time.Minute {
				return fmt.Errorf("--since %v: give at least 10m", since)
			}
			if flags.prometheus == "" {
				flags.prometheus = "auto"
			}
			c, err := flags.cluster()
			if err != nil {
				return err
			}
			before, err := flags.past(cmd.Context(), c)
			if err != nil {
				return err
			}
			namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
			if err != nil {
				return fmt.Errorf("find the namespace: %w", err)
			}
			h, err := before.history(cmd.Context(), c, namespace, args[0], args[1], time.Now(), since, limit)
			if err != nil {
				return err
			}
			if output == "json" {
				err = console.WriteJSON(cmd.OutOrStdout(), h)
			} else {
				err = h.writeText(cmd.OutOrStdout())
			}
			if err == nil && len(h.Series) == 0 {
				err = exitCode(3)
			}
			return err
		},
	}
	cmd.Flags().Var((*days)(&since), "since", "how far back, as 90m, 24h or 7d")
	cmd.Flags().DurationVar(&limit, "timeout", limit, "how long to wait for the API server")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "how to print: text or json")
	return cmd
}

// days is a duration that may be given in days.
type days time.Duration

func (d *days) String() string { return time.Duration(*d).String() }

// Type is what help calls the value.
func (d *days) Type() string { return "duration" }

// Set reads 90m, 24h or 7d.
func (d *days) Set(text string) error {
	var n int
	if _, err := fmt.Sscanf(text, "%dd", &n); err == nil && text == fmt.Sprintf("%dd", n) {
		*d = days(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(text)
	*d = days(v)
	return err
}

// pairHistory is what was of a pair. As JSON, times are in seconds.
type pairHistory struct {
	SchemaVersion int             `json:"schema_version"`
	Src           string          `json:"src"`
	Dst           string          `json:"dst"`
	From          time.Time       `json:"from"`
	To            time.Time       `json:"to"`
	StepSeconds   float64         `json:"step_seconds"`
	Series        []historySeries `json:"series"`
}

// historySeries is one stage's p99, or how many packets a second were lost there.
type historySeries struct {
	Way    string     `json:"way"`  // there or back
	What   string     `json:"what"` // p99_seconds or lost_per_second
	Node   string     `json:"node"`
	Stage  string     `json:"stage"`
	Device string     `json:"device"`
	Reason string     `json:"reason"` // of what is lost
	Points []*float64 `json:"points"` // null where there is none
}

const (
	whatP99  = "p99_seconds"
	whatLost = "lost_per_second"
)

// history asks for both ways of a pair.
func (p *past) history(ctx context.Context, c *agents.Cluster, namespace, src, dst string, now time.Time, since, limit time.Duration) (*pairHistory, error) {
	resolving, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	resolver, err := c.Resolver(resolving, namespace)
	if err != nil {
		return nil, err
	}
	from, err := resolver.Resolve(resolving, src)
	if err != nil {
		return nil, err
	}
	to, err := resolver.Resolve(resolving, dst)
	if err != nil {
		return nil, err
	}
	if len(from.Workloads) == 0 || len(to.Workloads) == 0 {
		return nil, errors.New("name two workloads, pods or Services: Prometheus has pairs of workloads")
	}
	known, err := c.Map(resolving)
	if err != nil {
		return nil, err
	}
	step := max(since/historyColumns, 30*time.Second).Round(time.Second)
	now = now.Truncate(step)
	h := &pairHistory{SchemaVersion: 1, Src: from.Name, Dst: to.Name, From: now.Add(-since), To: now, StepSeconds: step.Seconds(), Series: []historySeries{}}
	for _, way := range []struct {
		name     string
		from, to *agents.End
	}{{pairpath.There, &from, &to}, {pairpath.Back, &to, &from}} {
		if err := p.add(ctx, h, way.name, labelsOf(way.from, way.to), &known, step); err != nil {
			return nil, err
		}
	}
	return h, nil
}

// labelsOf choose one way's pair.
func labelsOf(src, dst *agents.End) string {
	one := func(e *agents.End) string {
		names := make([]string, len(e.Workloads))
		for i, n := range e.Workloads {
			names[i] = regexp.QuoteMeta(n)
		}
		return strings.Join(names, "|")
	}
	return fmt.Sprintf("src_namespace=%q,src_workload=~%q,dst_namespace=%q,dst_workload=~%q", src.Namespace, one(src), dst.Namespace, one(dst))
}

// add asks for one way.
func (p *past) add(ctx context.Context, h *pairHistory, way, labels string, m *cluster.Map, step time.Duration) error {
	window := max(step, minHistoryWindow)
	over := func(metric string) string {
		return fmt.Sprintf("%s[%ds]", p.selector(metric, labels), int(window.Seconds()))
	}
	for _, q := range []struct{ what, expression string }{
		{whatP99, "histogram_quantile(0.99, sum by (node, instance, stage, device, direction) (rate(" + over("tracer_stage_delay_seconds") + "))) or " +
			"histogram_quantile(0.99, sum by (node, instance, stage, device, direction, le) (rate(" + over("tracer_stage_delay_seconds_bucket") + "))) >= 0"},
		{whatLost, "sum by (node, instance, stage, device, direction, reason) (rate(" + over("tracer_pair_drops_total") + ")) > 0"},
	} {
		asking, cancel := context.WithTimeout(ctx, pastWithin)
		all, err := p.client.Range(asking, q.expression, h.From, h.To, step)
		cancel()
		if err != nil {
			return err
		}
		for i := range all {
			s := &all[i]
			h.Series = append(h.Series, historySeries{
				Way: way, What: q.what, Node: nodeOf(s, m), Stage: s.Labels["stage"], Device: s.Labels["device"], Reason: s.Labels["reason"], Points: inSteps(s, h.From, h.To, step),
			})
		}
	}
	slices.SortStableFunc(h.Series, func(x, y historySeries) int {
		return cmp.Or(-cmp.Compare(x.Way, y.Way), -cmp.Compare(x.What, y.What), cmp.Compare(x.Node, y.Node), -cmp.Compare(peak(x.Points), peak(y.Points)))
	})
	return nil
}

// inSteps are a series' values from step to step, nil where there is none.
func inSteps(s *prometheus.Series, from, to time.Time, step time.Duration) []*float64 {
	points := make([]*float64, int(to.Sub(from)/step)+1)
	for _, p := range s.Points {
		at := int(p.Time.Sub(from) / step)
		if at >= 0 && at < len(points) && !math.IsNaN(p.Value) && !math.IsInf(p.Value, 0) {
			points[at] = &p.Value
		}
	}
	return points
}

// peak is the highest of some points, 0 for none.
func peak(points []*float64) (most float64) {
	for _, p := range points {
		if p != nil {
			most = max(most, *p)
		}
	}
	return most
}

// writeText draws each series in proportion to its own peak.
func (h *pairHistory) writeText(w io.Writer) error {
	fmt.Fprintf(w, "%s → %s, %s to %s\n", h.Src, h.Dst, h.From.Local().Format("2 Jan 15:04"), h.To.Local().Format("2 Jan 15:04"))
	if len(h.Series) == 0 {
		_, err := fmt.Fprintln(w, "Prometheus has nothing of this pair: agents know pods of other nodes by their Services' names, try svc/NAME; or no agent was scraped then")
		return err
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "\nWAY\tNODE\tSTAGE\tDEVICE\tWHAT\tLAST\tPEAK\tFROM THEN TO NOW")
	for i := range h.Series {
		s := &h.Series[i]
		what, show := "p99", format.Seconds
		if s.What == whatLost {
			what, show = "lost/s "+s.Reason, func(v float64) string { return fmt.Sprintf("%.3g", v) }
		}
		last := "-"
		if p := s.Points[len(s.Points)-1]; p != nil {
			last = show(*p)
		}
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.Way, s.Node, s.Stage, cmp.Or(s.Device, "-"), what, last, show(peak(s.Points)), format.Spark(s.Points, len(s.Points)))
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write history: %w", err)
	}
	return nil
}
