// Package httpserver serves HTTP on a listener until a context ends.
package httpserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

const (
	// headerTimeout is how long a client may take to send its request's header.
	headerTimeout = 10 * time.Second
	// grace is how long answers under way may take once a server is to stop.
	grace = 3 * time.Second
)

// Options of a Server. All but Log and Serve are required.
type Options struct {
	Name     string // what is served, for errors and the log
	Listener net.Listener
	Handler  http.Handler
	Log      *slog.Logger                           // slog.Default() if nil
	Serve    func(*http.Server, net.Listener) error // (*http.Server).Serve if nil
}

// Server answers on a listener that it holds from the start, so that an address that is taken is known before anything
// else begins.
type Server struct {
	name     string
	listener net.Listener
	http     *http.Server
	serve    func(*http.Server, net.Listener) error
}

// New returns a server that takes over the listener.
func New(o Options) *Server {
	s := &Server{name: o.Name, listener: o.Listener, serve: o.Serve, http: &http.Server{
		Handler:           o.Handler,
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          slog.NewLogLogger(cmp.Or(o.Log, slog.Default()).Handler(), slog.LevelWarn),
	}}
	if s.serve == nil {
		s.serve = (*http.Server).Serve
	}
	return s
}

// ListenTCP listens on an address, as host:port. name is what is to be served there, for errors.
func ListenTCP(name, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("serve %s: %w; stop what listens there (ss -ltnp shows it) or choose another address", name, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("serve %s: %w; choose an address of this node (ip address shows them)", name, err)
	default:
		return nil, fmt.Errorf("serve %s: %w; give the address as host:port", name, err)
	}
}

// Name is what is served.
func (s *Server) Name() string { return s.name }

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until ctx ends, and then returns nil once all answers are given or cut off. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx } // ends streams
	ended := make(chan error, 1)
	go func() { ended <- s.serve(s.http, s.listener) }()
	select {
	case err := <-ended:
		s.Close()
		return fmt.Errorf("serve %s: %w", s.name, err)
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.http.Shutdown(limited); err != nil {
		s.http.Close()
	}
	s.Close() // ctx may have ended before the listener was served
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve %s: %w", s.name, err)
	}
	return nil
}

// Close closes the listener of a server that does not serve (any more).
func (s *Server) Close() {
	s.http.Close()
	s.listener.Close()
}
