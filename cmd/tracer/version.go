package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/agent"
	"tracer/internal/console"
	"tracer/internal/export/api"
	"tracer/internal/identity"
	"tracer/internal/incident"
	"tracer/internal/loader"
)

// commit is the source's, set by the linker in a release.
var commit string

// versions are those of this program, of what it reads and writes, and of the agent that runs here.
type versions struct {
	SchemaVersion int           `json:"schema_version"`
	Version       string        `json:"version"`
	Commit        string        `json:"commit"` // "" if it is no release
	Go            string        `json:"go"`
	Platform      string        `json:"platform"` // GOOS/GOARCH
	Socket        string        `json:"socket"`
	State         stateVersions `json:"state"`
	Agent         *agentVersion `json:"agent"` // null where none answers
}

// stateVersions are those of the formats of files in --state-dir.
type stateVersions struct {
	Identities int `json:"identities.json"`
	Usual      int `json:"usual.json"`
	Incidents  int `json:"incidents"`
}

type agentVersion struct {
	Version string    `json:"version"`
	Node    string    `json:"node"`
	Started time.Time `json:"started"`
}

func ourVersions() versions {
	return versions{
		SchemaVersion: 1, Version: version, Commit: commit, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Socket: api.Version, State: stateVersions{Identities: identity.CacheVersion, Usual: agent.BaselineVersion, Incidents: incident.Version},
	}
}

func newVersionCommand() *cobra.Command {
	var runDir, output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the versions of this program, of its socket and state files, and of the agent here",
		Long: `Print the versions of this program, of the agent's socket that it speaks, of the state
files that it reads, and of the agent that runs in this network namespace, if one does.`,
		Example: "  $tracer version\n  $tracer version -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := console.OneOf("output", output, "text", "json"); err != nil {
				return err
			}
			v := ourVersions()
			files, err := loader.CurrentFiles(runDir)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
			defer cancel()
			if v.Agent, err = askVersion(ctx, files.Socket()); err != nil {
				fmt.Fprintln(cmd.ErrOrStderr(), "tracer:", err)
			}
			if output == "json" {
				return console.WriteJSON(cmd.OutOrStdout(), v)
			}
			return v.write(cmd.OutOrStdout())
		},
	}
	addRunDir(cmd, &runDir)
	cmd.Flags().StringVarP(&output, "output", "o", "text", "text or json")
	return cmd
}

// askVersion is the agent's at a socket, nil if there is no agent.
func askVersion(ctx context.Context, socket string) (*agentVersion, error) {
	client := api.Dial(socket)
	defer client.Close()
	status, err := client.Status(ctx)
	if errors.Is(err, api.ErrNoAgent) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &agentVersion{Version: status.Version, Node: status.Node, Started: status.Started}, nil
}

func (v versions) write(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintf(&text, "tracer  %s", v.Version)
	if v.Commit != "" {
		fmt.Fprintf(&text, ", commit %s", v.Commit)
	}
	fmt.Fprintf(&text, ", %s, %s\n", v.Go, v.Platform)
	if a := v.Agent; a == nil {
		text.WriteString("agent   none runs here\n")
	} else {
		fmt.Fprintf(&text, "agent   %s on %s, since %s\n", a.Version, a.Node, a.Started.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&text, "socket  %s\nstate   identities.json %d, usual.json %d, incidents %d\n", v.Socket, v.State.Identities, v.State.Usual, v.State.Incidents)
	_, err := io.WriteString(w, text.String())
	return err
}
