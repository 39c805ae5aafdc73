//go:build !nolab

package main

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"tracer/internal/console"
	"tracer/internal/lab"
)

// labFlags are what all of the lab's commands take.
type labFlags struct {
	name   string
	runDir string
	output string
}

func newLabCommand() *cobra.Command {
	var flags labFlags
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Build a small cluster of network namespaces on this machine, and break it",
		Long: `Build a small cluster of network namespaces on this machine, and break it.

A lab has nodes joined by an overlay as Calico makes it, pods, a Service, and an
application under steady load that knows how long each of its packets took. It
changes nothing outside of the namespaces that it made.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.PersistentFlags().StringVar(&flags.name, "name", lab.DefaultName, "the lab's name, with which the names of its namespaces begin")
	cmd.PersistentFlags().StringVar(&flags.runDir, "run-dir", lab.DefaultRunDir, "where the lab keeps its state and identities")
	cmd.PersistentFlags().StringVarP(&flags.output, "output", "o", "table", "how to print: table or json")
	cmd.AddCommand(newLabUpCommand(&flags), newLabDownCommand(&flags), newLabStatusCommand(&flags),
		newLabFaultCommand(&flags), newLabHealCommand(&flags), newLabAppCommand(&flags))
	return cmd
}

func newLabDownCommand(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Remove the lab, even if it was built by half",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := lab.Remove(flags.runDir, flags.name); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "lab %q removed\n", flags.name)
			return err
		},
	}
}

// newLabAppCommand is what `lab up` starts inside the pods.
func newLabAppCommand(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:       "app server|client",
		Short:     "Run a part of the lab's application in this network namespace",
		Hidden:    true,
		ValidArgs: []string{lab.Server, lab.Client},
		Args:      cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			return lab.RunApp(cmd.Context(), lab.AppOptions{Name: flags.name, RunDir: flags.runDir, Part: args[0]})
		},
	}
}

func (f *labFlags) check() error { return console.OneOf("output", f.output, "table", "json") }

func writeLabJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
