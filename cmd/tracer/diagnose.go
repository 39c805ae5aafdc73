package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"tracer/internal/diagnose"
	"tracer/internal/export"
	"tracer/internal/loader"
)

func newDiagnoseCommand() *cobra.Command {
	var flags watchFlags
	var output string
	duration := 15 * time.Second
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "Say which hop holds or loses packets on this node, and why",
		Long: `Say which hop holds or loses packets on this node, and why.

Where an agent runs in this network namespace it is asked about its last seconds;
elsewhere the command watches by itself.

Exit code: 0 healthy or warnings only, 2 fault, 3 no traffic seen, 1 could not run.`,
		Example: `  tracer diagnose
  tracer diagnose --duration 5s -o json | jq .summary
  ip netns exec node1 tracer diagnose`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := oneOf("output", output, "text", "json"); err != nil {
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
				err = writeJSON(cmd.OutOrStdout(), report)
			} else {
				err = report.WriteText(cmd.OutOrStdout(), colorful(os.Stdout))
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
	cmd.Flags().DurationVar(&duration, "duration", duration, "how long to watch, or how far an agent looks back (at most 1m)")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "how to print: text or json")
	flags.add(cmd)
	flags.expect.add(cmd)
	return cmd
}

// diagnose asks the agent of this namespace, or watches where there is none.
func (f *watchFlags) diagnose(ctx context.Context, duration time.Duration) (diagnose.Report, error) {
	files, err := loader.CurrentFiles(f.runDir)
	if err != nil {
		return diagnose.Report{}, err
	}
	client := export.Dial(files.Socket())
	defer client.Close()
	report, err := client.Diagnose(ctx, duration)
	if !errors.Is(err, export.ErrNoAgent) {
		if len(f.expect) > 0 {
			slog.Warn("--expect-qdisc is not heeded: the agent answers by what it was told itself")
		}
		return report, err
	}
	n, err := f.start()
	if err != nil {
		return diagnose.Report{}, err
	}
	err = n.watch(ctx, duration, func() (err error) {
		report, err = n.Diagnose(ctx, duration)
		return err
	})
	return report, err
}

// colorful tells whether colour is wanted on f: a terminal, and no NO_COLOR (see no-color.org).
func colorful(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))
}
