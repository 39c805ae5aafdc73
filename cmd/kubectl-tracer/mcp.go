package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"tracer/internal/agents"
	"tracer/internal/cluster"
	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/incident"
	"tracer/internal/mcp"
	"tracer/internal/overview"
	"tracer/internal/pairpath"
)

// mcpInstructions are what the program that asks is told first.
const mcpInstructions = `tracer times and counts the packets of pods on the nodes of a Kubernetes cluster, inside their kernels. diagnose says what is wrong now, and on which node; path follows the packets between two ends over their nodes; top has figures by pair of workloads; incidents says what was wrong before; explain has the page of a cause.`

// maxNodes is how many nodes an answer has at most, and maxPathWindow how long a path is watched.
const (
	maxNodes      = 50
	maxPathWindow = 30 * time.Second
)

func newMCPCommand(flags *clusterFlags) *cobra.Command {
	limit := 10 * time.Second
	cmd := &cobra.Command{
		Use:   "mcp",
		Short: "Answer programs that ask about the cluster, by the Model Context Protocol",
		Long: `Answer programs that ask, such as an assistant in an editor or a bot in a chat, by the
Model Context Protocol over standard input and output. The tools diagnose, path, top,
incidents and explain read only: they ask the agents of all nodes, or of some, by streams
of kubectl exec, with the rights of the account that runs this. They are called one after
the other. Answers have at most 48 KiB; what is left out is counted in them.`,
		Example: `  kubectl tracer mcp --context production`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := flags.cluster()
			if err != nil {
				return err
			}
			namespace, _, err := flags.ToRawKubeConfigLoader().Namespace()
			if err != nil {
				return fmt.Errorf("find the namespace: %w", err)
			}
			c.Keep()
			return (&clusterMCP{c, namespace, limit}).server().Run(cmd.Context())
		},
	}
	cmd.Flags().DurationVar(&limit, "timeout", limit, "how long to wait for the API server, and for each agent")
	return cmd
}

// clusterMCP answers of a cluster. Names without a namespace are of namespace.
type clusterMCP struct {
	cluster   *agents.Cluster
	namespace string
	limit     time.Duration // for each agent
}

func (m *clusterMCP) server() *mcp.Server {
	s := mcp.New(version, mcpInstructions)
	mcp.Add(s, "diagnose", "Which node's device delays or loses packets now, and why, or that it is between nodes: one verdict of all nodes, findings with their evidence, and the commands that show more.", m.diagnose)
	mcp.Add(s, "path", "Each stage that packets pass between two ends, there and back, over their nodes: how long it takes, what is usual, what is lost.", m.path)
	mcp.Add(s, "top", "Who talks to whom in the cluster, each pair of workloads once, what hurts most first; or with a node the rows of that node.", m.top)
	mcp.Add(s, "incidents", "What was wrong before: the latest incidents of all nodes, or with a node and an id the report as it was and what changed around it.", m.incidents)
	mcp.AddExplain(s, func(string) string {
		var all []string
		for _, c := range diagnose.Causes() {
			all = append(all, string(c.Cause))
		}
		return "there are " + strings.Join(all, ", ")
	})
	return s
}

type mcpDiagnoseInput struct {
	mcp.WindowInput
	Nodes []string `json:"nodes,omitempty" jsonschema:"ask these nodes alone; all if it is left out"`
}

func (m *clusterMCP) diagnose(ctx context.Context, in mcpDiagnoseInput) (*sdk.CallToolResult, error) {
	window, err := in.Window()
	if err != nil {
		return nil, err
	}
	report, err := diagnoseCluster(ctx, m.cluster, clusterQuery{nodes: in.Nodes, window: window, limit: m.limit}, io.Discard)
	if err != nil {
		return nil, err
	}
	// Nodes at which nothing is are most of them, and tell least.
	slices.SortStableFunc(report.Nodes, func(x, y cluster.Node) int { return wellness(x) - wellness(y) })
	return mcp.Answer(report, func(r *cluster.Report) bool {
		if len(r.Nodes) > maxNodes {
			r.Nodes = r.Nodes[:maxNodes]
			return true
		}
		if mcp.Halve(&r.Nodes) || mcp.Halve(&r.Findings) {
			return true
		}
		if len(r.Findings) == 0 {
			return false
		}
		f := &r.Findings[0]
		return mcp.Halve(&f.SeenFrom) || mcp.Halve(&f.Nodes) || mcp.Halve(&f.Finding.Evidence) || mcp.Halve(&f.Finding.Pairs)
	})
}

// wellness is 0 for a node at which something is.
func wellness(n cluster.Node) int {
	if n.Verdict == diagnose.Healthy {
		return 1
	}
	return 0
}

type mcpPathInput struct {
	Src       string `json:"src" jsonschema:"deploy/NAME, sts/NAME, ds/NAME, job/NAME, pod/NAME, svc/NAME, node/NAME, a name alone, or an address"`
	Dst       string `json:"dst" jsonschema:"as src"`
	Namespace string `json:"namespace,omitempty" jsonschema:"of src and dst; that of the kubectl context if it is left out"`
	Seconds   int    `json:"seconds,omitempty" jsonschema:"how long to watch, from 1 to 30; 10 if it is left out"`
}

func (m *clusterMCP) path(ctx context.Context, in mcpPathInput) (*sdk.CallToolResult, error) {
	window := 10 * time.Second
	if in.Seconds != 0 {
		window = time.Duration(in.Seconds) * time.Second
	}
	if window < time.Second || window > maxPathWindow {
		return nil, fmt.Errorf("seconds %d: give 1 to %d", in.Seconds, int(maxPathWindow.Seconds()))
	}
	namespace := m.namespace
	if in.Namespace != "" {
		namespace = in.Namespace
	}
	w, err := newPathWatcher(ctx, m.cluster, namespace, in.Src, in.Dst, window, m.limit)
	if err != nil {
		return nil, err
	}
	return mcp.Answer(w.path(ctx), func(p *pairpath.Path) bool { return mcp.Halve(&p.Wires) || mcp.Halve(&p.Hops) || mcp.Halve(&p.Nodes) })
}

type mcpTopInput struct {
	mcp.TopInput
	Node string `json:"node,omitempty" jsonschema:"ask this node alone; all nodes, by pair, if it is left out"`
}

func (m *clusterMCP) top(ctx context.Context, in mcpTopInput) (*sdk.CallToolResult, error) {
	q, err := in.Query(10 * time.Second)
	if err != nil {
		return nil, err
	}
	if in.Node != "" {
		o, err := askNodeFor(ctx, m, in.Node, func(ctx context.Context, c *api.Client) (*overview.Overview, error) { return c.Overview(ctx, q) })
		if err != nil {
			return nil, err
		}
		return mcp.Answer(*o, mcp.ShortenOverview)
	}
	if q.By != overview.ByPair || in.Sort != "" {
		return nil, errors.New("all nodes together are answered by pair, what hurts most first: give a node, or leave out by and sort")
	}
	o, err := agents.NewSite(m.cluster, m.limit).Whole(ctx, q.Filter)
	if err != nil {
		return nil, err
	}
	o.Findings = nil // diagnose has them
	o.PairsLeft += max(0, len(o.Pairs)-q.Limit)
	o.Pairs = o.Pairs[:min(len(o.Pairs), q.Limit)]
	return mcp.Answer(o, func(o *cluster.Whole) bool {
		return mcp.Halve(&o.Nodes) || mcp.Halve(&o.Pairs) || len(o.Pairs) > 0 && mcp.Halve(&o.Pairs[0].Halves)
	})
}

type mcpIncidentsInput struct {
	Node string `json:"node,omitempty" jsonschema:"of this node; of all nodes if it is left out"`
	ID   string `json:"id,omitempty" jsonschema:"an incident's id, the beginning of one, or last, with its node; the list if it is left out"`
}

// nodeIncidents are those of a node, or why they are not known.
type nodeIncidents struct {
	Node      string             `json:"node"`
	Incidents []incident.Summary `json:"incidents"`
	Total     int                `json:"incidents_total"`
	Error     string             `json:"error,omitempty"`
}

func (m *clusterMCP) incidents(ctx context.Context, in mcpIncidentsInput) (*sdk.CallToolResult, error) {
	if in.ID != "" {
		if in.Node == "" {
			return nil, errors.New("give the node too: each keeps its own incidents")
		}
		story, err := askNodeFor(ctx, m, in.Node, func(ctx context.Context, c *api.Client) (incident.Story, error) { return c.Incident(ctx, in.ID) })
		if err != nil {
			return nil, err
		}
		return mcp.Answer(story.Shown, mcp.ShortenShown)
	}
	var names []string
	if in.Node != "" {
		names = []string{in.Node}
	}
	all, _, err := choose(ctx, m.cluster, names)
	if err != nil {
		return nil, err
	}
	var out []nodeIncidents
	agents.Ask(ctx, m.cluster, all, m.limit, func(ctx context.Context, c *api.Client) (incident.List, error) {
		return c.Incidents(ctx, mcp.MaxIncidents)
	}, func(a agents.Answer[incident.List]) {
		n := nodeIncidents{Node: a.Node, Incidents: a.Value.Incidents, Total: a.Value.Total}
		if a.Err != nil {
			n.Error = a.Err.Error()
		}
		if a.Err != nil || len(n.Incidents) > 0 {
			out = append(out, n)
		}
	})
	// The latest first; who did not answer last.
	slices.SortFunc(out, func(x, y nodeIncidents) int {
		if c := latest(y).Compare(latest(x)); c != 0 {
			return c
		}
		return strings.Compare(x.Node, y.Node)
	})
	return mcp.Answer(out, func(all *[]nodeIncidents) bool {
		shorter := false
		for i := range *all {
			shorter = mcp.Halve(&(*all)[i].Incidents) || shorter
		}
		return shorter || mcp.Halve(all)
	})
}

// latest is when a node's latest incident began.
func latest(n nodeIncidents) (t time.Time) {
	if len(n.Incidents) > 0 {
		t = n.Incidents[0].Began
	}
	return t
}

// askNodeFor asks the agent of one node.
func askNodeFor[T any](ctx context.Context, m *clusterMCP, node string, question func(context.Context, *api.Client) (T, error)) (v T, err error) {
	all, _, err := choose(ctx, m.cluster, []string{node})
	if err != nil {
		return v, err
	}
	agents.Ask(ctx, m.cluster, all, m.limit, question, func(a agents.Answer[T]) { v, err = a.Value, a.Err })
	return v, err
}
