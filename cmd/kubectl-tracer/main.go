// Command kubectl-tracer asks the tracer agents of a cluster, as a plugin of kubectl: kubectl tracer.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/klog/v2"

	"tracer/internal/agents"
)

// version is set by the linker.
var version = "dev"

func main() {
	// What client-go logs of streams that end, we return as errors where it is one.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := newRootCommand().ExecuteContext(ctx)
	var code exitCode
	switch {
	case err == nil:
	case errors.As(err, &code):
		os.Exit(int(code))
	default:
		fmt.Fprintln(os.Stderr, "kubectl tracer:", err)
		os.Exit(1)
	}
}

// exitCode is an error that has been printed already, or is none: the process ends with it.
type exitCode int

func (c exitCode) Error() string { return fmt.Sprintf("exit code %d", int(c)) }

// clusterFlags say which cluster, and where the agents are in it.
type clusterFlags struct {
	*genericclioptions.ConfigFlags
	agents string
}

// cluster is the one that the flags lead to.
func (f *clusterFlags) cluster() (*agents.Cluster, error) {
	config, err := f.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	config.UserAgent = "kubectl-tracer/" + version
	config.QPS, config.Burst = 4*agents.MaxAtOnce, 4*agents.MaxAtOnce
	return agents.New(config, f.agents)
}

func newRootCommand() *cobra.Command {
	flags := &clusterFlags{ConfigFlags: genericclioptions.NewConfigFlags(true)}
	cmd := &cobra.Command{
		Use:   "kubectl-tracer",
		Short: "Find what makes pod-to-pod traffic of a cluster slow",
		Long: `kubectl tracer asks the tracer agents on the nodes of a cluster, each by a stream of
kubectl exec: who may exec into their pods may ask. It works while the overlay is down,
and nothing but the agents runs for it in the cluster.`,
		Example: `  kubectl tracer diagnose
  kubectl tracer nodes --context production`,
		Version:       version,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl tracer"},
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.SetVersionTemplate("kubectl-tracer version {{.Version}}\n")
	flags.AddFlags(cmd.PersistentFlags())
	cmd.PersistentFlags().StringVar(&flags.agents, "tracer-namespace", "tracer", "where the agents are")
	cmd.AddCommand(newDiagnoseCommand(flags), newNodesCommand(flags), newPathCommand(flags))
	return cmd
}
