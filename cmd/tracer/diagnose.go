package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/console"
	"tracer/internal/diagnose"
)

func newDiagnoseCommand() *cobra.Command {
	var flags tracingFlags
	var output string
	var checking bool
	duration := 15 * time.Second
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "Say which device holds or loses packets on this node, and why",
		Long: `Say which device holds or loses packets on this node, and why.

Where an agent runs in this network namespace it is asked about its last seconds;
elsewhere the command traces by itself.

Exit code: 0 healthy or warnings only, 2 fault, 3 no traffic or too little of it seen,
1 could not run.

With --check it is a plugin of node-problem-detector: it asks the agent alone, and
prints one line of at most 80 bytes within 3 s. Exit codes:
  0  fine
  1  a critical finding at this node's overlay or uplink for 3 minutes
  2  unknown

Causes that it finds, each with a page that tracer explain prints:
` + listCauses(),
		Example: `  $tracer diagnose
  $tracer diagnose --duration 5s -o json | jq .summary
  kubectl exec -n tracer ds/tracer -- /tracer diagnose`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if checking {
				if code := checkNode(cmd.Context(), flags.runDir, time.Now, cmd.OutOrStdout()); code != checkOK {
					return exitCode(code)
				}
				return nil
			}
			if err := console.OneOf("output", output, "text", "json"); err != nil {
				return err
			}
			if duration < time.Second {
				return fmt.Errorf("--duration %v: give at least 1s, less shows too few packets", duration)
			}
			if _, err := flags.expect.parse(); err != nil {
				return err
			}
			report, err := flags.diagnose(cmd.Context(), duration)
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
	cmd.Flags().DurationVar(&duration, "duration", duration, "how long to trace, or how far the agent looks back (at most 1m)")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "how to print: text or json")
	cmd.Flags().BoolVar(&checking, "check", false, "ask the agent as a plugin of node-problem-detector does")
	// To the problem detector the usual 1 would say that the node is at fault.
	cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if checking {
			fmt.Fprintln(cmd.OutOrStdout(), shorten(err.Error(), checkBytes-1))
			return exitCode(checkUnknown)
		}
		return err
	})
	flags.add(cmd)
	flags.expect.add(cmd)
	return cmd
}

// listCauses has a line for each cause.
func listCauses() string {
	var lines []string
	for _, c := range diagnose.Causes() {
		lines = append(lines, fmt.Sprintf("  %-17s  %s", c.Cause, c.Meaning))
	}
	return strings.Join(lines, "\n")
}

// diagnose asks the agent of this namespace, or traces for a while where there is none.
func (f *tracingFlags) diagnose(ctx context.Context, duration time.Duration) (report diagnose.Report, err error) {
	err = f.withSource(ctx, func(ctx context.Context, s source, own bool) (err error) {
		switch {
		case !own && len(f.expect) > 0:
			slog.Warn("--expect-qdisc is ignored: an agent answers here, and uses its own --expect-qdisc")
		case own:
			slog.Debug("tracing started", "for", duration)
			select {
			case <-time.After(duration):
			case <-ctx.Done():
				return errInterrupted
			}
		}
		report, err = s.Diagnose(ctx, duration)
		return err
	})
	return report, err
}
