package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/agents"
	"tracer/internal/export/api"
)

func newNodesCommand(flags *clusterFlags) *cobra.Command {
	limit := 10 * time.Second
	cmd := &cobra.Command{
		Use:     "nodes",
		Short:   "List the nodes, their agents and what these find",
		Example: `  kubectl tracer nodes`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.cluster()
			if err != nil {
				return err
			}
			all, notAsked, err := choose(cmd.Context(), c, nil)
			if err != nil {
				return err
			}
			var answers []agents.Answer[node]
			done := newProgress(cmd.ErrOrStderr(), len(all))
			agents.Ask(cmd.Context(), c, all, limit, askNode, func(a agents.Answer[node]) {
				answers = append(answers, a)
				done.answered()
			})
			done.end()
			slices.SortFunc(answers, func(x, y agents.Answer[node]) int { return strings.Compare(x.Node, y.Node) })
			w := tabwriter.NewWriter(cmd.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "NODE\tAGENT\tKERNEL\tHOOKS\tSEEN\tFINDINGS")
			for _, a := range answers {
				if a.Err != nil {
					fmt.Fprintf(w, "%s\t-\t-\t-\t-\t%s\n", a.Node, oneLine(a.Err.Error()))
					continue
				}
				fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", a.Node, a.Value.status.Version, a.Value.status.Kernel, a.Value.hooks(), a.Value.seen(), a.Value.finds())
			}
			if err := w.Flush(); err != nil {
				return fmt.Errorf("write: %w", err)
			}
			if notAsked != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), notAsked)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&limit, "timeout", limit, "how long to wait for each agent")
	return cmd
}

// node is what an agent says of itself and its node.
type node struct {
	status   api.Status
	findings api.ActiveFindings
}

func askNode(ctx context.Context, client *api.Client) (n node, err error) {
	if n.status, err = client.Status(ctx); err != nil {
		return n, err
	}
	n.findings, err = client.ActiveFindings(ctx)
	return n, err
}

// hooks is how many of those that should be there are, and see packets.
func (n *node) hooks() string {
	up := 0
	for _, h := range n.status.Hooks {
		if h.Attached && !h.Silent {
			up++
		}
	}
	return fmt.Sprintf("%d/%d", up, len(n.status.Hooks))
}

// seen is the least coverage of its devices.
func (n *node) seen() string {
	least := -1.0
	for _, c := range n.findings.Coverage {
		if c.Ratio != nil && (least < 0 || *c.Ratio < least) {
			least = *c.Ratio
		}
	}
	if least < 0 {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100*least)
}

// finds lists the active findings, the critical ones first.
func (n *node) finds() string {
	var out []string
	for _, f := range n.findings.Findings {
		at := ""
		if f.Finding.Device != "" {
			at = " at " + f.Finding.Device
		}
		out = append(out, fmt.Sprintf("%s%s (%s)", f.Finding.Cause, at, f.Finding.Severity))
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }
