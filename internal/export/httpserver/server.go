// Package httpserver serves HTTP on a listener until a context ends.
package httpserver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"time"
)

const (
	// headerTimeout is how long a client may take to send its request's header, and its TLS handshake.
	headerTimeout = 10 * time.Second
	// netHTTPAdds is what net/http takes of a header beyond its limit, in bytes.
	netHTTPAdds = 4 << 10
	// DefaultMaxHeader is Options.MaxHeader unless another is given.
	DefaultMaxHeader = 8 << 10
	// idleTimeout is how long a connection without a request is kept: longer than scrapes are apart.
	idleTimeout = 2 * time.Minute
	// grace is how long answers under way may take once a server is to stop.
	grace = 3 * time.Second
	// DefaultTurns is Options.Turns where nothing is encrypted: what is answered to a request takes some 100 µs of a CPU.
	DefaultTurns = 500
)

// Options of a Server. Name, Listener and Handler are required.
type Options struct {
	Name     string // what is served, for errors and the log
	Listener net.Listener
	Handler  http.Handler
	Log      *slog.Logger // slog.Default() if nil
	// WriteTimeout is how long an answer may take from the request's header on; 0 for no limit.
	WriteTimeout time.Duration
	Serve        func(*http.Server, net.Listener) error // (*http.Server).Serve if nil
	// Turns is how many reads of connections and requests together are worked on in a second, on average; DefaultTurns if 0.
	Turns int
	// MaxHeader bounds a request's header in bytes; DefaultMaxHeader if 0. One of many short fields takes twenty times as much memory.
	MaxHeader int
}

// Server answers on a listener that it holds from the start, so that an address that is taken is known before anything
// else begins. What clients can take of this process is bounded, whoever they are: connections, headers, bodies, attempts
// at passwords, lines of log, and with turns its CPU time.
type Server struct {
	name     string
	listener *connections
	turns    *pace
	http     *http.Server
	serve    func(*http.Server, net.Listener) error
}

// New returns a server that takes over the listener.
func New(o Options) *Server {
	turns := newPace(cmp.Or(o.Turns, DefaultTurns))
	listener := newConnections(o.Listener, maxConnections, turns)
	complaints := &complaints{log: cmp.Or(o.Log, slog.Default()), name: o.Name, now: time.Now}
	s := &Server{name: o.Name, listener: listener, turns: turns, serve: o.Serve, http: &http.Server{
		Handler:           passed(o.Handler),
		ReadHeaderTimeout: headerTimeout,
		WriteTimeout:      o.WriteTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    cmp.Or(o.MaxHeader, DefaultMaxHeader) - netHTTPAdds,
		ConnState:         listener.follow,
		ErrorLog:          log.New(complaints, "", 0),
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
	s.http.BaseContext = func(net.Listener) context.Context {
		// Here, since it is called once Options.Serve has put its own handler (of passwords) around ours: the gate goes first.
		s.http.Handler = newGate(s.http.Handler, s.turns)
		return ctx // ends streams
	}
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
