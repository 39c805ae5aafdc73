package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tracer/internal/agents"
	"tracer/internal/cluster"
	"tracer/internal/console"
	"tracer/internal/overview"
	"tracer/internal/top"
)

func newTopCommand(flags *clusterFlags) *cobra.Command {
	var filter, output string
	var nodes []string
	var once bool
	query := overview.Query{By: overview.ByPair, Interval: 2 * time.Second}
	limit := 10 * time.Second
	cmd := &cobra.Command{
		Use:   "top",
		Short: "See where the time goes in the whole cluster: pairs, Services, flows, nodes and devices",
		Long: `See where the time goes between the workloads of a cluster: each pair is one row, with what
the nodes of both ends saw of its packets, the one first that hurts most. Devices are
named NODE:DEVICE; the fourth view has the nodes too. ? tells the keys.

With --once it prints one window and ends; exit code 1 if no agent answered. Without it up
to 32 nodes are watched: name them by --nodes where there are more.`,
		Example: `  kubectl tracer top
  kubectl tracer top --nodes node-a,node-b
  kubectl tracer top --once --filter 'web device=tunl0 p99>10ms'
  kubectl tracer top --once -o json | jq '.rows[0].worst'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := console.OneOf("output", output, "table", "json"); err != nil {
				return err
			}
			if cmd.Flags().Changed("output") && !once {
				return errors.New("--output is for --once: add it")
			}
			if query.Interval < overview.MinInterval || query.Interval > overview.MaxInterval {
				return fmt.Errorf("--interval %v: give one between %v and %v", query.Interval, overview.MinInterval, overview.MaxInterval)
			}
			if query.Limit < 0 {
				return errors.New("--limit takes no negative value")
			}
			if query.Filter, err = overview.ParseFilter(filter); err != nil {
				return fmt.Errorf("--filter: %w", err)
			}
			if !once && (!term.IsTerminal(int(os.Stdin.Fd())) || !term.IsTerminal(int(os.Stdout.Fd()))) {
				return errors.New("this is not a terminal: print the view with --once")
			}
			c, err := flags.cluster()
			if err != nil {
				return err
			}
			view, err := newClusterView(cmd.Context(), c, nodes, limit)
			if err != nil {
				return err
			}
			if !once {
				if len(view.agents) > agents.MaxAtOnce {
					return fmt.Errorf("%d nodes: name up to %d by --nodes, or print all of them with --once", len(view.agents), agents.MaxAtOnce)
				}
				return top.Run(cmd.Context(), top.Options{Source: view, Query: query, Version: version, Now: time.Now}, os.Stdin, os.Stdout)
			}
			return view.print(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr(), query, output)
		},
	}
	f := cmd.Flags()
	f.Var(&query.By, "by", "what the rows are")
	f.DurationVar(&query.Interval, "interval", query.Interval, "time between two updates")
	f.Var(&query.Sort, "sort", "column to sort by: pain (what hurts most), "+strings.Join(overview.SortKeys()[1:], ", ")+"; -COLUMN for the reverse")
	f.StringVar(&filter, "filter", "", "show only rows that match: texts and conditions such as 'web device=node-a:tunl0 p99>10ms drops>0'")
	f.IntVar(&query.Limit, "limit", 0, "most rows to print with --once (default: all)")
	f.BoolVar(&once, "once", false, "print one window and end")
	f.StringSliceVar(&nodes, "nodes", nil, "ask these nodes alone")
	f.DurationVar(&limit, "timeout", limit, "how long to wait for each agent")
	f.StringVarP(&output, "output", "o", "table", "how --once prints: table or json")
	return cmd
}

// clusterView is what the agents of some nodes see, as one.
type clusterView struct {
	cluster  *agents.Cluster
	agents   []agents.Agent
	notAsked string
	known    cluster.Map
	limit    time.Duration // for each agent
}

func newClusterView(ctx context.Context, c *agents.Cluster, nodes []string, limit time.Duration) (v *clusterView, err error) {
	v = &clusterView{cluster: c, limit: limit}
	if v.agents, v.notAsked, err = choose(ctx, c, nodes); err != nil {
		return nil, err
	}
	if v.known, err = c.Map(ctx); err != nil {
		return nil, err
	}
	v.known.Services, err = c.Services(ctx)
	return v, err
}

// print shows one window of all nodes.
func (v *clusterView) print(ctx context.Context, w, progress io.Writer, q overview.Query, output string) error {
	var all []cluster.Seen
	done := newProgress(progress, len(v.agents))
	agents.AskFlows(ctx, v.cluster, v.agents, v.limit, agents.FlowsQuery(q.Interval, agents.MaxFlows), func(s cluster.Seen) {
		all = append(all, s)
		done.answered()
	})
	done.end()
	o := v.overview(all, q)
	var err error
	if output == "json" {
		err = console.WriteJSON(w, o)
	} else {
		err = top.WriteTable(w, o, q, version, console.TerminalWidth(), console.Colorful(os.Stdout))
	}
	if err == nil && !slices.ContainsFunc(all, func(s cluster.Seen) bool { return s.Overview != nil }) {
		return exitCode(1)
	}
	return err
}

// overview is of all, in the order of their names.
func (v *clusterView) overview(all []cluster.Seen, q overview.Query) *overview.Overview {
	slices.SortFunc(all, func(x, y cluster.Seen) int { return strings.Compare(x.Node, y.Node) })
	o := cluster.Overview(all, v.known, q, v.notAsked)
	if o.Taken.IsZero() {
		o.Taken = time.Now()
	}
	return o
}
