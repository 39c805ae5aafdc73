package export

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"
)

// DefaultMetricsAddress is where metrics are served: on all of the node's addresses.
const DefaultMetricsAddress = ":9435"

// MetricsOptions are those of a metrics server. Collector is required.
type MetricsOptions struct {
	Address string // host:port; DefaultMetricsAddress if empty
	// WebConfig is a file as the Prometheus exporters take it, with TLS and basic authentication; none if empty.
	WebConfig string
	Collector *Collector
	Version   string
	Log       *slog.Logger // slog.Default() if nil
}

// NewMetricsServer listens for scrapes of /metrics.
func NewMetricsServer(o MetricsOptions) (*Server, error) {
	log := cmp.Or(o.Log, slog.Default())
	if err := web.Validate(o.WebConfig); err != nil {
		return nil, fmt.Errorf("read web configuration %s: %w; see https://prometheus.io/docs/prometheus/latest/configuration/https", o.WebConfig, err)
	}
	handler, err := metricsHandler(o.Collector, o.Version, log)
	if err != nil {
		return nil, err
	}
	listener, err := listenTCP("metrics", cmp.Or(o.Address, DefaultMetricsAddress))
	if err != nil {
		return nil, err
	}
	s := newServer("metrics", listener, handler, log)
	s.serve = func(l net.Listener) error {
		return web.Serve(l, s.http, &web.FlagConfig{WebConfigFile: &o.WebConfig}, log)
	}
	return s, nil
}

func metricsHandler(c *Collector, version string, log *slog.Logger) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	if err := registry.Register(c); err != nil {
		return nil, fmt.Errorf("register metrics: %w", err)
	}
	landing, err := web.NewLandingPage(web.LandingConfig{
		Name:        "tracer",
		Description: "Which hop of a pod-to-pod path adds the latency or loses the packets",
		Version:     version,
		Profiling:   "false",
		Links:       []web.LandingLinks{{Address: "/metrics", Text: "Metrics"}},
	})
	if err != nil {
		return nil, fmt.Errorf("make the landing page: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", landing)
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError, // a metric that is wrong takes no other with it
	}))
	return mux, nil
}
