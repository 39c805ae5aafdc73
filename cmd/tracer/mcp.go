package main

import (
	"context"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"tracer/internal/incident"
	"tracer/internal/mcp"
)

// mcpInstructions are what the program that asks is told first.
const mcpInstructions = `tracer times and counts the packets of pods on one Kubernetes node, inside the kernel. diagnose says what is wrong now; incidents says what was wrong before; top has figures by pair of workloads; explain has the page of a cause.`

func newMCPCommand() *cobra.Command {
	var flags mcpFlags
	cmd := &cobra.Command{
		Use:   "mcp",
		Short: "Answer programs that ask, by the Model Context Protocol over standard input and output",
		Long: `Answer programs that ask, such as an assistant in an editor or a bot in a chat, by the
Model Context Protocol over standard input and output. The tools diagnose, top, incidents
and explain read only: they ask the agent that runs here, and the incidents that it keeps.
They are called one after the other. Answers have at most 48 KiB; what is left out is
counted in them.`,
		Example: `  $tracer mcp
  kubectl exec -i -n tracer ds/tracer -- /tracer mcp`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return flags.server().Run(cmd.Context())
		},
	}
	addRunDir(cmd, &flags.runDir)
	flags.incidents.addDir(cmd)
	return cmd
}

type mcpFlags struct {
	runDir    string
	incidents incidentsFlags
}

// server has the tools.
func (f *mcpFlags) server() *mcp.Server {
	s := mcp.New(version, mcpInstructions)
	mcp.Add(s, "diagnose", "Which device of this node delays or loses packets now, and why: verdict, findings with their evidence, and the commands that show more.", f.mcpDiagnose)
	mcp.Add(s, "top", "Who talks to whom through this node, and where the time goes: pairs of workloads, Services or devices, what hurts most first.", f.mcpTop)
	mcp.Add(s, "incidents", "What was wrong before on this node: the list of incidents, or with an id the report as it was and what changed around it.", f.mcpIncidents)
	mcp.AddExplain(s, suggest)
	return s
}

func (f *mcpFlags) mcpDiagnose(ctx context.Context, in mcp.WindowInput) (*sdk.CallToolResult, error) {
	window, err := in.Window()
	if err != nil {
		return nil, err
	}
	agent, err := dialAgent(f.runDir)
	if err != nil {
		return nil, err
	}
	defer agent.Close()
	report, err := agent.Diagnose(ctx, window)
	if err != nil {
		return nil, err
	}
	return mcp.Answer(report, mcp.ShortenReport)
}

func (f *mcpFlags) mcpTop(ctx context.Context, in mcp.TopInput) (*sdk.CallToolResult, error) {
	q, err := in.Query(onceInterval)
	if err != nil {
		return nil, err
	}
	agent, err := dialAgent(f.runDir)
	if err != nil {
		return nil, err
	}
	defer agent.Close()
	o, err := agent.Overview(ctx, q)
	if err != nil {
		return nil, err
	}
	return mcp.Answer(*o, mcp.ShortenOverview)
}

type mcpIncidentsInput struct {
	ID string `json:"id,omitempty" jsonschema:"an incident's id, the beginning of one, or last; the list if it is left out"`
}

func (f *mcpFlags) mcpIncidents(ctx context.Context, in mcpIncidentsInput) (*sdk.CallToolResult, error) {
	if in.ID == "" {
		lister := incident.Lister{Store: &f.incidents.store}
		list, err := lister.List(ctx, mcp.MaxIncidents)
		if err != nil {
			return nil, err
		}
		return mcp.Answer(list, func(l *incident.List) bool { return mcp.Halve(&l.Incidents) })
	}
	i, err := f.incidents.store.Read(in.ID) // and no file: who asks may read incidents, and nothing else
	if err != nil {
		return nil, err
	}
	frame, err := f.incidents.frame(i)
	if err != nil {
		return nil, err
	}
	return mcp.Answer(i.ShownAt(frame), mcp.ShortenShown)
}
