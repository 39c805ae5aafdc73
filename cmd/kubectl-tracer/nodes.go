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
	"tracer/internal/console"
	"tracer/internal/export/api"
)

func newNodesCommand(flags *clusterFlags) *cobra.Command {
	limit := 10 * time.Second
	var output string
	cmd := &cobra.Command{
		Use:   "nodes",
		Short: "List the nodes, their agents and what these find",
		Example: `  kubectl tracer nodes
  kubectl tracer nodes -o json | jq '.nodes[] | select(.error != "") | .name'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.OneOf("output", output, "text", "json"); err != nil {
				return err
			}
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
			if output == "json" {
				return console.WriteJSON(cmd.OutOrStdout(), nodeListOf(answers, notAsked))
			}
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
	cmd.Flags().StringVarP(&output, "output", "o", "text", "how to print: text or json")
	return cmd
}

// nodeList is the answer as JSON.
type nodeList struct {
	SchemaVersion int        `json:"schema_version"`
	Nodes         []nodeItem `json:"nodes"`
	NotAsked      string     `json:"not_asked"` // why there may be others; "" if there are none
}

// nodeItem is a node of it.
type nodeItem struct {
	Name         string              `json:"name"`
	Error        string              `json:"error"` // why its agent did not answer; "" if it did
	Version      string              `json:"version"`
	Kernel       string              `json:"kernel"`
	HooksUp      int                 `json:"hooks_up"`
	HooksMissing int                 `json:"hooks_missing"`
	Coverage     *float64            `json:"coverage"` // the least of its devices'; null if none is known
	Findings     []api.ActiveFinding `json:"findings"`
}

func nodeListOf(answers []agents.Answer[node], notAsked string) nodeList {
	l := nodeList{SchemaVersion: 1, Nodes: []nodeItem{}, NotAsked: notAsked}
	for _, a := range answers {
		n := nodeItem{Name: a.Node, Findings: []api.ActiveFinding{}}
		if a.Err != nil {
			n.Error = oneLine(a.Err.Error())
		} else {
			up := a.Value.up()
			n.Version, n.Kernel, n.HooksUp, n.HooksMissing = a.Value.status.Version, a.Value.status.Kernel, up, len(a.Value.status.Hooks)-up
			n.Coverage, n.Findings = a.Value.coverage(), append(n.Findings, a.Value.findings.Findings...)
		}
		l.Nodes = append(l.Nodes, n)
	}
	return l
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

// up is how many hooks there are, and see packets.
func (n *node) up() (up int) {
	for _, h := range n.status.Hooks {
		if h.Attached && !h.Silent {
			up++
		}
	}
	return up
}

// hooks is how many of those that should be there are, and see packets.
func (n *node) hooks() string { return fmt.Sprintf("%d/%d", n.up(), len(n.status.Hooks)) }

// coverage is the least of its devices; nil if none is known.
func (n *node) coverage() (least *float64) {
	for _, c := range n.findings.Coverage {
		if c.Ratio != nil && (least == nil || *c.Ratio < *least) {
			least = c.Ratio
		}
	}
	return least
}

// seen is the coverage as people read it.
func (n *node) seen() string {
	least := n.coverage()
	if least == nil {
		return "-"
	}
	return fmt.Sprintf("%.0f %%", 100**least)
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
