package metrics

import (
	"cmp"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/exporter-toolkit/web"

	"tracer/internal/export/httpserver"
)

// DefaultAddress is where metrics are served: on all of the node's addresses.
const DefaultAddress = ":9435"

// answerWithin is how long a client may take from its request to the end of the answer: as long as Prometheus waits by default.
const answerWithin = 10 * time.Second

// turnsWithTLS is httpserver.Options.Turns with TLS: a handshake takes some 2 ms of a CPU, in four turns.
const turnsWithTLS = 100

// ServerOptions are those of a metrics server. Collector is required.
type ServerOptions struct {
	Address string // host:port; DefaultAddress if empty
	// WebConfig is a file as the Prometheus exporters take it, with TLS and basic authentication; none if empty.
	WebConfig string
	Collector *Collector
	Version   string
	Log       *slog.Logger // slog.Default() if nil
}

// NewServer listens for scrapes of /metrics.
func NewServer(o ServerOptions) (*httpserver.Server, error) {
	log := cmp.Or(o.Log, slog.Default())
	if err := web.Validate(o.WebConfig); err != nil {
		return nil, fmt.Errorf("read web configuration %s: %w; see https://prometheus.io/docs/prometheus/latest/configuration/https", o.WebConfig, err)
	}
	handler, err := newHandler(o.Collector, o.Version, log)
	if err != nil {
		return nil, err
	}
	listener, err := httpserver.ListenTCP("metrics", cmp.Or(o.Address, DefaultAddress))
	if err != nil {
		return nil, err
	}
	turns := httpserver.DefaultTurns
	if o.WebConfig != "" {
		turns = turnsWithTLS
	}
	return httpserver.New(httpserver.Options{
		Name: "metrics", Listener: listener, Handler: handler, Log: log, WriteTimeout: answerWithin, Turns: turns,
		Serve: func(s *http.Server, l net.Listener) error {
			return web.Serve(l, s, &web.FlagConfig{WebConfigFile: &o.WebConfig}, log)
		},
	}), nil
}

func newHandler(c *Collector, version string, log *slog.Logger) (http.Handler, error) {
	registry := prometheus.NewRegistry()
	for _, collector := range append(ownProcess(), c) {
		if err := registry.Register(collector); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	landing, err := web.NewLandingPage(web.LandingConfig{
		Name:        "tracer",
		Description: "Which device on a pod-to-pod path adds the latency or loses the packets",
		Version:     version,
		Profiling:   "false",
		Links:       []web.LandingLinks{{Address: "/metrics", Text: "Metrics"}},
	})
	if err != nil {
		return nil, fmt.Errorf("make the landing page: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /{$}", landing)
	mux.Handle("GET /metrics", &sharedAnswers{maxAge: maxAge / 2, handler: promhttp.HandlerFor(registry, promhttp.HandlerOpts{
		ErrorLog:      slog.NewLogLogger(log.Handler(), slog.LevelError),
		ErrorHandling: promhttp.ContinueOnError, // a metric that is wrong takes no other with it
	})})
	return mux, nil
}
