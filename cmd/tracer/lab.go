//go:build !nolab

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/lab"
	"tracer/internal/lab/load"
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

func newLabUpCommand(flags *labFlags) *cobra.Command {
	o := lab.Options{Load: lab.DefaultLoad()}
	var pods []string
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Build the lab and start its application",
		Example: `  tracer lab up
  tracer lab up --nodes 3 --pod cache@node1 --pod worker@node3
  tracer lab up --rate 100      # enough to fill a queue of 50 kbit/s for good`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			for _, s := range pods {
				pod, err := lab.ParsePod(s)
				if err != nil {
					return err
				}
				o.Pods = append(o.Pods, pod)
			}
			exe, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program for the application: %w", err)
			}
			o.App = []string{exe, "lab", "app"}
			o.Name, o.RunDir = flags.name, flags.runDir
			l, err := lab.Up(cmd.Context(), o)
			if err != nil {
				return err
			}
			return flags.printStatus(cmd.OutOrStdout(), l)
		},
	}
	f := cmd.Flags()
	f.IntVar(&o.Nodes, "nodes", 2, "how many nodes")
	f.StringVar(&o.Overlay, "overlay", lab.Auto, "ipip, vxlan, or auto for ipip where the kernel has it")
	f.StringArrayVar(&pods, "pod", []string{"cache@node1"}, "a pod beside web and api, as name@node; may be repeated")
	f.Float64Var(&o.Load.Rate, "rate", o.Load.Rate, "UDP calls per second from web to api")
	f.IntVar(&o.Load.Size, "size", o.Load.Size, fmt.Sprintf("bytes of payload in a UDP call, %d to %d", load.MinSize, load.MaxSize))
	f.DurationVar(&o.Load.TCP, "tcp", o.Load.TCP, "time between two TCP calls, 0 for none")
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

func newLabStatusCommand(flags *labFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the lab, the latest numbers of its load and the active faults",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return err
			}
			l, err := lab.Open(flags.runDir, flags.name)
			if err != nil {
				return err
			}
			return flags.printStatus(cmd.OutOrStdout(), l)
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

func (f *labFlags) check() error {
	if f.output != "table" && f.output != "json" {
		return fmt.Errorf("output %q: choose table or json", f.output)
	}
	return nil
}

func (f *labFlags) printStatus(w io.Writer, l *lab.Lab) error {
	now := time.Now()
	status, err := l.Status(now)
	if err != nil {
		return err
	}
	if f.output == "json" {
		return writeLabJSON(w, status)
	}
	return writeLabStatus(w, status, now)
}

func writeLabJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
