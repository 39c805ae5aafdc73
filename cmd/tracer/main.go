// Command tracer tells, on a Kubernetes node and from inside the kernel, which hop of a pod-to-pod path adds the
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
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	os.Exit(run(ctx))
}

// exitCode is an error that has been told already, or is none: the process ends with it.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

func run(ctx context.Context) int {
	err := newRootCommand().ExecuteContext(ctx)
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

func newRootCommand() *cobra.Command {
	var level string
	cmd := &cobra.Command{
		Use:   "tracer",
		Short: "Find the hop that makes pod-to-pod traffic slow",
		Long: `tracer times packets at every hop of their way through a Kubernetes node, inside the
kernel and without touching an application: the pods' devices, the overlay (tunl0,
vxlan.calico …) and the uplink. It says which hop holds or loses packets, and why.

The namespace traced is the one it is started in.`,
		Example: `  tracer demo                    # the whole story, on this machine alone
  tracer diagnose                # watch this node for 15 s and say what is wrong
  ip netns exec node1 tracer diagnose -o json`,
		Version:       version,
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
	cmd.CompletionOptions.DisableDefaultCmd = true
	cmd.PersistentFlags().StringVar(&level, "log-level", "info", "debug, info, warn or error")
	cmd.AddCommand(newAgentCommand(), newTraceCommand(), newTopCommand(), newDiagnoseCommand(), newCheckCommand(), newCleanupCommand(), newCopyCommand())
	addLabCommands(cmd)
	return cmd
}
