package ui

import (
	"context"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"

	"tracer/internal/export/api"
)

// Relay hands requests to the agent that serves a unix socket, and its answers back as they come, without reading them. An agent that
// is not there is answered 502 and why: it may come back.
func Relay(socket string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host, r.Out.Host = "http", "agent", "agent"
			r.Out.Header = http.Header{} // nothing that a browser says is for the agent
		},
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
			DisableCompression: true,
		},
		FlushInterval: -1,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			refuse(w, http.StatusBadGateway, api.DialError(socket, err).Error())
		},
		ErrorLog: log.New(io.Discard, "", 0), // that an agent stops in the middle of a stream, the page tells
	}
}

// refuse answers with an error, in the form of the agent's own.
func refuse(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(struct { // a client that is gone needs no answer
		Error string `json:"error"`
	}{text})
}
