package export

import (
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
	// headerTimeout is how long a client may take to say what it wants.
	headerTimeout = 10 * time.Second
	// grace is how long answers under way may take once a server is to stop.
	grace = 3 * time.Second
)

// Server answers on a listener that it holds from the start, so that an address that is taken is known before
// anything else begins.
type Server struct {
	what     string
	listener net.Listener
	http     *http.Server
	serve    func(net.Listener) error
}

func newServer(what string, listener net.Listener, handler http.Handler, log *slog.Logger) *Server {
	s := &Server{what: what, listener: listener, http: &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}}
	s.serve = s.http.Serve
	return s
}

// listenTCP takes an address for what the server is to show.
func listenTCP(what, address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address)
	switch {
	case err == nil:
		return listener, nil
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("serve %s: %w; stop what listens there (ss -ltnp tells) or choose another address", what, err)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return nil, fmt.Errorf("serve %s: %w; choose an address that this node has (ip address)", what, err)
	default:
		return nil, fmt.Errorf("serve %s: %w; give the address as host:port", what, err)
	}
}

// Addr is where the server listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// Serve answers until ctx ends, and then returns nil once all answers are given or cut off. It is called once.
func (s *Server) Serve(ctx context.Context) error {
	s.http.BaseContext = func(net.Listener) context.Context { return ctx } // ends streams
	ended := make(chan error, 1)
	go func() { ended <- s.serve(s.listener) }()
	select {
	case err := <-ended:
		s.Close()
		return fmt.Errorf("serve %s: %w", s.what, err)
	case <-ctx.Done():
	}
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := s.http.Shutdown(limited); err != nil {
		s.http.Close()
	}
	s.Close() // if it came to no Serve
	if err := <-ended; !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("serve %s: %w", s.what, err)
	}
	return nil
}

// Close gives up the listener of a server that is not to serve (any more).
func (s *Server) Close() {
	s.http.Close()
	s.listener.Close()
}
