package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"tracer/internal/agent"
	"tracer/internal/export/api"
	"tracer/internal/export/health"
	"tracer/internal/export/httpserver"
	"tracer/internal/export/metrics"
	"tracer/internal/incident"
	"tracer/internal/overview"
)

// agentFlags are those of the agent alone.
type agentFlags struct {
	tracingFlags
	cluster   clusterFlags
	metrics   metrics.ServerOptions
	collector metrics.Options
	health    string
	// The socket that a group may ask on, and the group.
	viewerSocket string
	viewerGroup  int
	// Of incidents: where, and how much is kept.
	incidentsDir string
	incidentsMiB int
	incidentsAge time.Duration
	events       bool
	// What all agents of a cluster share.
	samplingKeyFile string
}

func newAgentCommand() *cobra.Command {
	var flags agentFlags
	cmd := &cobra.Command{
		Use:   "agent",
		Short: "Trace this node until stopped, and serve metrics, health and flow data",
		Long: `Trace this node until stopped, and serve metrics, health and flow data: the process of
the DaemonSet. Metrics are served to the network, health to this host alone, and flow
data on a unix socket that only root can open; diagnose, trace and top ask there.
--viewer-socket makes a second one for a group, which refuses what only root may ask.`,
		Example: `  $tracer agent
  $tracer agent --kubeconfig ~/.kube/config --node-name node1
  $tracer agent --listen 172.18.0.2:9435 --web.config.file web.yml
  $tracer agent --identity-file names.yaml`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.checkIncidents(cmd.Flags().Changed("incidents-dir")); err != nil {
				return err
			}
			return flags.run(cmd.Context())
		},
	}
	f := cmd.Flags()
	flags.add(cmd)
	flags.cluster.add(cmd)
	flags.expect.add(cmd)
	f.StringVar(&flags.stateDir, "state-dir", defaultStateDir, "where names (for a start without the API server) and the learned baseline are kept; empty for nowhere")
	f.StringVar(&flags.incidentsDir, "incidents-dir", "", "where incidents are kept, what led to findings; empty for nowhere (default: incidents in --state-dir)")
	f.IntVar(&flags.incidentsMiB, "incidents-mib", incident.DefaultBytes>>20, "most MiB of incidents: the oldest goes first")
	f.DurationVar(&flags.incidentsAge, "incidents-age", incident.DefaultAge, "for how long incidents are kept at most")
	f.BoolVar(&flags.events, "events", false, "write Kubernetes Events when findings begin and end; takes the right to create and patch events")
	f.StringVar(&flags.samplingKeyFile, "sampling-key-file", "", "a file with a secret that all agents of a cluster share, so that they sample the same packets (default: $SAMPLING_KEY, else the UID of the DaemonSet)")
	f.StringVar(&flags.metrics.Address, "listen", metrics.DefaultAddress, "address of /metrics, as host:port")
	f.StringVar(&flags.metrics.WebConfig, "web.config.file", "", "TLS and basic authentication for /metrics, in the file format of Prometheus exporters")
	f.StringVar(&flags.health, "health-listen", health.DefaultAddress, "address of /healthz and /readyz, as host:port")
	f.StringVar(&flags.viewerSocket, "viewer-socket", "", "a second socket, on which a group may ask what people look at (default: none)")
	f.IntVar(&flags.viewerGroup, "viewer-group", 9435, "the group of --viewer-socket, by its number")
	f.IntVar(&flags.collector.MaxSeries, "max-series", metrics.DefaultMaxSeries, "most series by pair of workloads; the least busy share one")
	f.BoolVar(&flags.collector.ClassicPairs, "classic-histograms", false, "give histograms by pair classic buckets too, for a Prometheus without native ones")
	return cmd
}

// checkIncidents works out where incidents are kept.
func (f *agentFlags) checkIncidents(given bool) error {
	switch {
	case f.incidentsMiB < 8:
		return fmt.Errorf("--incidents-mib %d: give at least 8, one incident takes up to an eighth", f.incidentsMiB)
	case f.incidentsAge < time.Minute:
		return fmt.Errorf("--incidents-age %v: give at least 1m", f.incidentsAge)
	case !given && f.stateDir != "":
		f.incidentsDir = filepath.Join(f.stateDir, incidentsIn)
	}
	f.incidents.Store = incident.Store{Dir: f.incidentsDir, Bytes: int64(f.incidentsMiB) << 20, Age: f.incidentsAge}
	return nil
}

// keptIncidents is where incidents are; nil for nowhere.
func (f *agentFlags) keptIncidents() *incident.Store {
	if f.incidents.Store.Dir == "" {
		return nil
	}
	return &f.incidents.Store
}

// run takes all that may be taken already (the namespace, the addresses, the socket) before it says that it is ready.
func (f *agentFlags) run(ctx context.Context) (err error) {
	if f.collector.MaxSeries < 1 {
		return fmt.Errorf("--max-series %d: give at least 1", f.collector.MaxSeries)
	}
	agent.CollectGarbageEarly()
	f.logFindings = true
	var n *node
	f.incidents.About = func() incident.Header {
		return incident.Header{Node: n.name, Tracer: version, Kernel: kernelRelease(), Netns: n.Loader().Files().Netns, Started: n.Started()}
	}
	f.incidents.Seen = func() overview.About { return n.about() }
	n, err = f.start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, n.Close()) }()
	f.collector.Source = n
	f.metrics.Collector, f.metrics.Version = metrics.NewCollector(f.collector), version
	f.metrics.Address = bracketed(f.metrics.Address)
	recorder, err := f.eventRecorder(n)
	if err != nil {
		return err
	}
	files := n.Loader().Files()
	group, ctx := errgroup.WithContext(ctx)
	var servers []*httpserver.Server
	listeners := []func() (*httpserver.Server, error){
		func() (*httpserver.Server, error) { return metrics.NewServer(f.metrics) },
		func() (*httpserver.Server, error) {
			return health.NewServer(health.Options{Address: f.health, Status: n.Status})
		},
		func() (*httpserver.Server, error) {
			return api.NewServer(api.ServerOptions{Path: files.Socket(), Source: n, Names: n.names, Incidents: f.keptIncidents()})
		},
	}
	if f.viewerSocket != "" {
		listeners = append(listeners, func() (*httpserver.Server, error) {
			return api.NewViewerServer(api.ServerOptions{Path: f.viewerSocket, Source: n, Names: n.names}, f.viewerGroup)
		})
	}
	for _, listen := range listeners {
		server, err := listen()
		if err != nil {
			return err
		}
		defer server.Close()
		servers = append(servers, server)
		slog.Info("serving", "server", server.Name(), "address", server.Addr())
	}
	if err := files.LinkAgentSocket(); err != nil {
		return err
	}
	status := n.Status()
	debug.FreeOSMemory() // that took types and programs to load: little of the kind comes later
	slog.Info("tracing started", "node", n.name, "kernel", status.Kernel, "hooks", len(status.Hooks), "version", version)
	group.Go(func() error { return n.Run(ctx) })
	if n.cluster != nil {
		group.Go(func() error { return n.cluster.Run(ctx) })
	}
	if recorder != nil {
		group.Go(func() error { return recorder.Run(ctx) })
	}
	for _, s := range servers {
		group.Go(func() error { return s.Serve(ctx) })
	}
	return group.Wait()
}

// bracketed puts brackets around an IPv6 address before a port: a manifest cannot know which family a node's address is.
func bracketed(address string) string {
	i := strings.LastIndex(address, ":")
	if i < 0 || !strings.Contains(address[:i], ":") || strings.HasPrefix(address, "[") {
		return address
	}
	return net.JoinHostPort(address[:i], address[i+1:])
}
