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

	"tracer/internal/agents"
	"tracer/internal/cluster"
	"tracer/internal/console"
	"tracer/internal/diagnose"
	"tracer/internal/export/api"
)

func newDiagnoseCommand(flags *clusterFlags) *cobra.Command {
	var output string
	q := clusterQuery{window: 15 * time.Second, limit: 10 * time.Second}
	cmd := &cobra.Command{
		Use:   "diagnose [SRC DST]",
		Short: "Say which node's device holds or loses packets, or that it is between nodes",
		Long: `Ask the agents of all nodes about their last seconds, and say one thing: what one node
sees of something beyond it is joined with what the other end's node finds at its own
devices, and what no node finds is on the wire between them.

With --prometheus those nodes alone are asked that have findings there, or too little seen,
or nothing there at all, and those at the other ends of what these see.

With SRC and DST, as for kubectl tracer path, the nodes of these are asked alone.

With --suggest-cordon it also names the nodes that are themselves at fault, for three
minutes at least, and may be cordoned: never more than one in ten together with those
that are out of service already, none if more are at fault, none at the ends of a wire
that is. It changes nothing.

Exit code: 0 healthy or warnings only, 2 fault, 3 no traffic, too little of it seen, or
an agent that did not answer while the others found no fault, 1 could not run.`,
		Example: `  kubectl tracer diagnose
  kubectl tracer diagnose deploy/web svc/api -n shop
  kubectl tracer diagnose --nodes node-a,node-b -o json | jq .summary
  kubectl tracer diagnose --suggest-cordon -o json | jq -r .suggest_cordon.nodes[].node`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 0 && len(args) != 2 || len(args) == 2 && len(q.nodes) > 0 {
				return errors.New("give SRC and DST, or --nodes, or neither")
			}
			return nil
		},
		ValidArgsFunction: flags.ends,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.OneOf("output", output, "text", "json"); err != nil {
				return err
			}
			if q.window < time.Second || q.window > time.Minute {
				return fmt.Errorf("--duration %v: give 1s to 1m: less shows too few packets, and agents remember one minute", q.window)
			}
			c, err := flags.cluster()
			if err != nil {
				return err
			}
			if q.past, err = flags.past(cmd.Context(), c); err != nil {
				return err
			}
			if len(args) == 2 {
				if q.nodes, err = flags.nodesOf(cmd.Context(), c, args[0], args[1], q.limit); err != nil {
					return err
				}
			}
			report, err := diagnoseCluster(cmd.Context(), c, q, cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if output == "json" {
				err = console.WriteJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.WriteText(cmd.OutOrStdout(), console.Colorful(os.Stdout))
			}
			if err != nil {
				return err
			}
			if code := report.ExitCode(); code != 0 {
				return exitCode(code)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&q.window, "duration", q.window, "how far the agents look back (at most 1m)")
	cmd.Flags().DurationVar(&q.limit, "timeout", q.limit, "how long to wait for each agent")
	cmd.Flags().BoolVar(&q.suggestCordon, "suggest-cordon", false, "name nodes that are themselves at fault, at most one in ten")
	cmd.Flags().StringSliceVar(&q.nodes, "nodes", nil, "ask these nodes alone")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "how to print: text or json")
	return cmd
}

// nodesOf are the nodes where two ends are.
func (f *clusterFlags) nodesOf(ctx context.Context, c *agents.Cluster, src, dst string, limit time.Duration) ([]string, error) {
	namespace, _, err := f.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("find the namespace: %w", err)
	}
	_, from, to, err := findEnds(ctx, c, namespace, src, dst, limit)
	if err != nil {
		return nil, err
	}
	nodes := slices.Concat(from.Nodes, to.Nodes)
	if len(nodes) == 0 {
		return nil, errors.New("neither end is a pod or node of this cluster")
	}
	return nodes, nil
}

// clusterQuery is what diagnoseCluster asks.
type clusterQuery struct {
	nodes         []string // all, if it is empty
	past          *past    // if it is not nil, the nodes that are quiet there are not asked
	window, limit time.Duration
	suggestCordon bool
}

// diagnoseCluster asks the agents of a cluster, and says on w how far it is.
func diagnoseCluster(ctx context.Context, c *agents.Cluster, q clusterQuery, w io.Writer) (cluster.Report, error) {
	all, notAsked, err := choose(ctx, c, q.nodes)
	if err != nil {
		return cluster.Report{}, err
	}
	known, err := c.Map(ctx)
	if err != nil {
		return cluster.Report{}, err
	}
	if slices.ContainsFunc(all, func(a agents.Agent) bool { return a.Ephemeral }) { // they have seen nothing yet
		select {
		case <-time.After(q.window):
		case <-ctx.Done():
		}
	}
	ask := func(some []agents.Agent) (answers []cluster.Answer) {
		done := newProgress(w, len(some))
		agents.Ask(ctx, c, some, q.limit, func(ctx context.Context, client *api.Client) (cluster.Answer, error) {
			status, err := client.Status(ctx)
			if err != nil {
				return cluster.Answer{}, err
			}
			asked := time.Now()
			report, err := client.Diagnose(ctx, q.window)
			answer := cluster.Answer{Version: status.Version, Report: &report, Asked: asked, At: time.Now()}
			if q.suggestCordon {
				if active, failed := client.ActiveFindings(ctx); failed == nil { // else the node is not named
					answer.Held = heldOf(&active)
				}
			}
			return answer, err
		}, func(a agents.Answer[cluster.Answer]) {
			answer := cluster.Answer{Node: a.Node, Err: a.Err}
			if a.Err == nil {
				answer = a.Value
				answer.Node = a.Node
			}
			answers = append(answers, answer)
			done.answered()
		})
		done.end()
		return answers
	}
	asked, quiet := all, []agents.Agent(nil)
	if q.past != nil {
		if asked, quiet, err = q.past.split(ctx, all, &known); err != nil {
			return cluster.Report{}, err
		}
	}
	answers := ask(asked)
	// What these see beyond them the other ends' nodes can tell, whatever Prometheus has of them.
	peers := cluster.Peers(answers, known)
	called := slices.DeleteFunc(slices.Clone(quiet), func(a agents.Agent) bool { return !slices.Contains(peers, a.Node) })
	answers = append(answers, ask(called)...)
	for _, a := range quiet {
		if !slices.Contains(called, a) {
			answers = append(answers, cluster.Answer{Node: a.Node, Report: &diagnose.Report{Node: a.Node, Verdict: diagnose.Healthy, Summary: "no finding, as Prometheus has it"}})
		}
	}
	slices.SortFunc(answers, func(x, y cluster.Answer) int { return strings.Compare(x.Node, y.Node) })
	r := cluster.Merge(answers, known, notAsked)
	if q.suggestCordon {
		c := cluster.SuggestCordon(&r, answers, known)
		r.Cordon = &c
	}
	return r, nil
}

// heldOf are an agent's critical findings, by its own clock.
func heldOf(active *api.ActiveFindings) (held []cluster.Held) {
	for i := range active.Findings {
		if f := &active.Findings[i]; !f.CriticalSince.IsZero() {
			held = append(held, cluster.Held{Finding: f.Finding, Role: f.Role, Critical: active.Judged.Sub(f.CriticalSince)})
		}
	}
	return held
}

// choose returns the agents of some nodes, each once however often it is named, or all, and why there may be others.
func choose(ctx context.Context, c *agents.Cluster, nodes []string) (out []agents.Agent, notAsked string, err error) {
	if err := c.Ensure(ctx, nodes); err != nil {
		return nil, "", err
	}
	all, notAsked, err := c.List(ctx)
	if err != nil || len(nodes) == 0 {
		return all, notAsked, err
	}
	for _, name := range nodes {
		at := slices.IndexFunc(all, func(a agents.Agent) bool { return a.Node == name })
		if at < 0 {
			return nil, "", errors.New("no node " + name + ": see kubectl tracer nodes")
		}
		if !slices.Contains(out, all[at]) {
			out = append(out, all[at])
		}
	}
	return out, "other nodes were not asked", nil
}
