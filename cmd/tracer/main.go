// Command tracer tells, on a Kubernetes node and from inside the kernel, which device on a pod-to-pod path adds the
// latency or loses the packets, and why.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tracer/internal/build"
)

// version is set by the linker, or else by main.
var version = build.Unknown

func main() {
	version = build.Version(version)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	os.Exit(run(ctx))
}

// exitCode is an error that has been printed already, or is none: the process ends with it.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func run(ctx context.Context) int {
	err := newRootCommand(thisEdition()).ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
		return 0
	case errors.As(err, &code):
		return int(code)
	default:
		fmt.Fprintln(os.Stderr, "tracer:", err)
		return 1
	}
}

func newRootCommand(e edition) *cobra.Command {
	var level string
	cmd := &cobra.Command{
		Use:   "tracer",
		Short: "Find the device that makes pod-to-pod traffic slow",
		Long: `tracer times packets at every device on their way through a Kubernetes node, inside
the kernel and without touching an application: the pods' devices, the overlay (tunl0,
vxlan.calico …) and the uplink. It says which device holds or loses packets, and why.

It traces the network namespace that it is started in.`,
		Example:       e.examples,
		Version:       version,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: e.program},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(*cobra.Command, []string) error {
			var l slog.Level
			if err := l.UnmarshalText([]byte(level)); err != nil {
				return fmt.Errorf("--log-level %q: choose debug, info, warn or error", level)
			}
			slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: l})))
			return nil
		},
	}
	cmd.SetVersionTemplate("tracer version {{.Version}}\n")
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.PersistentFlags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	cmd.AddCommand(newAgentCommand(), newTraceCommand(), newTopCommand(), newUICommand(), newDiagnoseCommand(), newExplainCommand(), newIncidentsCommand(), newMCPCommand(), newCheckCommand(), newCleanupCommand(), newConnectCommand(), newViewerCommand(), newCopyCommand(), newVersionCommand())
	cmd.AddCommand(e.commands...)
	e.finish(cmd)
	return cmd
}
