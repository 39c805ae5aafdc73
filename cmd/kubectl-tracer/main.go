// Command kubectl-tracer asks the tracer agents of a cluster, as a plugin of kubectl: kubectl tracer.
package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/klog/v2"

	"tracer/internal/agents"
	"tracer/internal/build"
)

// Both are set by the linker; the version else by main.
var (
	version    = build.Unknown
	repository = "docker.io/library/tracer" // where the image of this version is
)

func main() {
	version = build.Version(version)
	// What client-go logs of streams that end, we return as errors where it is one.
	klog.SetSlogLogger(slog.New(slog.DiscardHandler))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root, flags := newRoot()
	root.SetArgs(argsOf(os.Args))
	err := root.ExecuteContext(ctx)
	if closeErr := flags.close(); closeErr != nil {
		fmt.Fprintln(os.Stderr, "kubectl tracer:", closeErr)
		err = cmp.Or(err, closeErr)
	}
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
	agents  string
	viewers string
	// prometheus is where the cluster's past is: a URL, a Service, "auto", or "" for nowhere.
	prometheus string
	// prometheusMatch chooses this cluster's series where it has those of several.
	prometheusMatch string

	ephemeral bool // start agents where there are none
	start     agents.Ephemeral
	opened    []*agents.Cluster // to be closed
}

// cluster is the one that the flags lead to.
func (f *clusterFlags) cluster() (*agents.Cluster, error) {
	config, err := f.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w", err)
	}
	config.UserAgent = "kubectl-tracer/" + version
	config.QPS, config.Burst = 4*agents.MaxAtOnce, 4*agents.MaxAtOnce
	if f.ephemeral && f.start.Lifetime < time.Minute {
		return nil, fmt.Errorf("--ephemeral-for %v: give at least 1m", f.start.Lifetime)
	}
	c, err := agents.New(config, f.agents, f.viewers)
	if err != nil {
		return nil, err
	}
	if f.ephemeral {
		c.WithEphemeral(f.start)
	}
	f.opened = append(f.opened, c)
	return c, nil
}

// closeWithin is how long it may take to remove what was started.
const closeWithin = 15 * time.Second

// close closes what the command opened and removes what it started, also where it was interrupted.
func (f *clusterFlags) close() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	for _, c := range f.opened {
		err = errors.Join(err, c.Close(ctx))
	}
	return err
}

func newRootCommand() *cobra.Command {
	cmd, _ := newRoot()
	return cmd
}

// newRoot returns the command, and its flags, which are to be closed.
func newRoot() (*cobra.Command, *clusterFlags) {
	flags := &clusterFlags{ConfigFlags: genericclioptions.NewConfigFlags(true)}
	cmd := &cobra.Command{
		Use:   "kubectl-tracer",
		Short: "Find what makes pod-to-pod traffic of a cluster slow",
		Long: `kubectl tracer asks the tracer agents on the nodes of a cluster, each by a stream of
kubectl exec: who may exec into their pods may ask, or else into those of the viewers. It works while the overlay is down,
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
	cmd.PersistentFlags().StringVar(&flags.viewers, "viewer-namespace", "tracer-viewer", "where the pods are through which those ask who may not exec into the agents' own")
	f := cmd.PersistentFlags()
	f.BoolVar(&flags.ephemeral, "ephemeral", false, "start agents for this command on the nodes concerned that have none, and remove them at its end")
	f.StringVar(&flags.prometheus, "prometheus", "", "the Prometheus that has the agents' metrics: http://HOST:PORT, svc/NAMESPACE/NAME:PORT through the API server, or auto to find its Service")
	f.StringVar(&flags.prometheusMatch, "prometheus-match", "", `what chooses this cluster's series in a Prometheus of several, as 'cluster="a"'`)
	f.StringVar(&flags.start.Image, "image", repository+":"+version, "the image that --ephemeral starts")
	f.StringVar(&flags.start.Namespace, "ephemeral-namespace", "kube-system", "where --ephemeral starts them: a namespace that allows host network")
	f.DurationVar(&flags.start.Lifetime, "ephemeral-for", 10*time.Minute, "after which Kubernetes itself removes them, should this command be killed")
	f.DurationVar(&flags.start.Ready, "ephemeral-within", 90*time.Second, "how long they may take to start")
	cmd.AddCommand(newDiagnoseCommand(flags), newNodesCommand(flags), newPathCommand(flags), newTopCommand(flags), newTraceCommand(flags), newHistoryCommand(flags),
		newUICommand(flags), newMCPCommand(flags))
	flags.completeFlags(cmd)
	return cmd, flags
}
