// Package ui serves the page of tracer ui to a browser on this machine: the page itself, and the agent's answers behind it.
// It decides nothing: who may ask is in guard.go, what is asked goes to the agent as it is.
package ui

import (
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"

	"tracer/internal/export/httpserver"
)

// Options of a Server.
type Options struct {
	// Agent answers the requests under /v1/: Relay, or an agent's own handler.
	Agent http.Handler
	// Port of 127.0.0.1; 0 for one that is free.
	Port int
	// Log takes what goes wrong with connections; slog.Default() if nil.
	Log *slog.Logger
}

// Server is the page on a port of 127.0.0.1.
type Server struct {
	*httpserver.Server
	token string
}

// New listens. The token that it makes is known only to who gets URL.
func New(o Options) (*Server, error) {
	listener, err := httpserver.ListenTCP("page", net.JoinHostPort("127.0.0.1", strconv.Itoa(o.Port)))
	if err != nil {
		return nil, err
	}
	token := rand.Text()
	server := httpserver.New(httpserver.Options{Name: "page", Listener: listener, Handler: routes(o.Agent, token), Log: o.Log})
	return &Server{Server: server, token: token}, nil
}

// URL is where the page is. The token stands in its fragment, which browsers send to nobody: the page puts it into a header.
func (s *Server) URL() string { return fmt.Sprintf("http://%s/#token=%s", s.Addr(), s.token) }

// Token is what a request has in TokenHeader.
func (s *Server) Token() string { return s.token }

// routes are all that a browser may ask. The page is in every copy of this program, and is given without the token.
func routes(agent http.Handler, token string) http.Handler {
	mux := http.NewServeMux()
	for _, path := range []string{"/v1/status", "/v1/overview"} {
		mux.Handle("GET "+path, withToken(token, agent))
	}
	mux.Handle("GET /causes/{name}", withToken(token, http.HandlerFunc(cause)))
	mux.Handle("GET /", page())
	return guard(mux)
}
