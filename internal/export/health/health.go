// Package health answers the kubelet's probes.
package health

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"tracer/internal/export/api"
	"tracer/internal/export/httpserver"
)

// DefaultAddress is where the kubelet's probes ask: the agent is in the host's network.
const DefaultAddress = "127.0.0.1:9436"

// maxReadAge is how long ago the reader's loop may have come round.
const maxReadAge = 30 * time.Second

// answerWithin is how long a client may take from its request to the end of the answer.
const answerWithin = 10 * time.Second

// Options of a server. Status is required.
type Options struct {
	Address string // host:port; DefaultAddress if empty
	Status  func() api.Status
	Now     func() time.Time // the clock; time.Now if nil
	Log     *slog.Logger     // slog.Default() if nil
}

// NewServer listens for probes of /healthz and /readyz.
func NewServer(o Options) (*httpserver.Server, error) {
	listener, err := httpserver.ListenTCP("health", cmp.Or(o.Address, DefaultAddress))
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return httpserver.New(httpserver.Options{
		Name: "health", Listener: listener, Handler: handler(o.Status, o.Now), Log: o.Log, WriteTimeout: answerWithin,
	}), nil
}

func handler(status func() api.Status, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if age := now().Sub(status().LastRead); age > maxReadAge {
			http.Error(w, fmt.Sprintf("the record reader has not run for %v", age.Round(time.Second)), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if s := status(); !s.Hooked {
			http.Error(w, notReady(&s), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// notReady says why packets to and from other nodes are not seen.
func notReady(s *api.Status) string {
	for _, h := range s.Hooks {
		if h.Silent && h.Role.LeadsOut() {
			return fmt.Sprintf("the hook %s of %s is %s", h.Hook, h.Device, h.Error)
		}
	}
	return "no hook is attached to an overlay or uplink device; tracer check says why"
}
