package httpserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

// No server may leave a goroutine behind.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newServer(t *testing.T) *Server {
	t.Helper()
	listener, err := ListenTCP("tests", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return New(Options{Name: "tests", Listener: listener, Handler: http.NotFoundHandler()})
}

func TestServerEnds(t *testing.T) {
	t.Parallel()
	free := func(server *Server) {
		t.Helper()
		if _, err := net.Dial("tcp", server.Addr().String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Fatalf("the port is not free: %v", err)
		}
	}
	// A context that ended before the start.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	for range 20 {
		server := newServer(t)
		if err := server.Serve(ctx); err != nil {
			t.Fatal(err)
		}
		free(server)
	}
	// A server that never serves.
	server := newServer(t)
	server.Close()
	free(server)
	// One whose listener fails.
	server = newServer(t)
	server.listener.Close()
	if err := server.Serve(context.Background()); !errors.Is(err, net.ErrClosed) || !strings.HasPrefix(fmt.Sprint(err), "serve tests: ") {
		t.Errorf("broken listener: %v", err)
	}
}

func TestListenErrors(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	address := taken.Addr().String()
	_, err = ListenTCP("tests", address)
	if !errors.Is(err, syscall.EADDRINUSE) || !strings.Contains(err.Error(), address) || !strings.Contains(err.Error(), "serve tests: ") ||
		!strings.Contains(err.Error(), "choose another address") {
		t.Errorf("taken: %v", err)
	}
	if _, err := ListenTCP("tests", "192.0.2.1:1"); !errors.Is(err, syscall.EADDRNOTAVAIL) || !strings.Contains(err.Error(), "ip address") {
		t.Errorf("not ours: %v", err)
	}
	if _, err := ListenTCP("tests", "9436"); err == nil || !strings.Contains(err.Error(), "host:port") {
		t.Errorf("no port: %v", err)
	}
}
