package export

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/http"
	"time"
)

// DefaultHealthAddress is where probes of the kubelet ask: the agent is in the host's network.
const DefaultHealthAddress = "127.0.0.1:9436"

// alive is how long ago the reader's loop may have come round.
const alive = 30 * time.Second

// HealthOptions are those of a health server. Status is required.
type HealthOptions struct {
	Address string // host:port; DefaultHealthAddress if empty
	Status  func() Status
	Now     func() time.Time // the clock; time.Now if nil
	Log     *slog.Logger     // slog.Default() if nil
}

// NewHealthServer listens for probes of /healthz and /readyz.
func NewHealthServer(o HealthOptions) (*Server, error) {
	listener, err := listenTCP("health", cmp.Or(o.Address, DefaultHealthAddress))
	if err != nil {
		return nil, err
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return newServer("health", listener, healthHandler(o.Status, o.Now), cmp.Or(o.Log, slog.Default())), nil
}

func healthHandler(status func() Status, now func() time.Time) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if age := now().Sub(status().LastRead); age > alive {
			http.Error(w, fmt.Sprintf("the reader of records has stood still for %v", age.Round(time.Second)), http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !status().Hooked {
			http.Error(w, "no overlay or uplink is hooked; tracer check tells why", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
