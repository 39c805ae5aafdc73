//go:build linux

package api

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/export/httpserver"
	"tracer/internal/incident"
)

// errSocketTaken says that something answers at a socket's path.
var errSocketTaken = errors.New("an agent is already serving this socket")

// maxSocketPath is what struct sockaddr_un holds, less the final zero.
const maxSocketPath = 107

// ServerOptions are those of the server on the unix socket. All but Incidents and Log are required.
type ServerOptions struct {
	Path   string
	Source Source
	Names  aggregate.Namer
	// Incidents are those that the agent keeps; nil for none.
	Incidents *incident.Store
	Log       *slog.Logger // slog.Default() if nil
}

// NewServer listens on a unix socket that only its owner may use, for the requests of Client. It replaces a socket that a
// dead agent left behind; the caller holds the lock of the network namespace, so that no two agents do so at once.
func NewServer(o ServerOptions) (*httpserver.Server, error) {
	return serverOf(newHandler(o.Source, o.Names, o.Incidents), o.Path, o.Log)
}

func serverOf(h *handler, path string, log *slog.Logger) (*httpserver.Server, error) {
	listener, err := listenUnix(path)
	if err != nil {
		return nil, fmt.Errorf("serve socket %s: %w", path, err)
	}
	listening := &peerListener{Listener: listener, log: cmp.Or(log, slog.Default()), refusal: refusedToAll, group: -1}
	return httpserver.New(httpserver.Options{Name: "socket", Listener: listening, Handler: h.routes(), Log: log, MaxHeader: maxHeader}), nil
}

// maxHeader has room for the addresses of a workload's many pods (/v1/path), in bytes.
const maxHeader = 20 << 10

func listenUnix(path string) (net.Listener, error) {
	if len(path) > maxSocketPath {
		return nil, fmt.Errorf("the path is longer than %d bytes; choose a shorter one", maxSocketPath)
	}
	config := net.ListenConfig{Control: ownerOnly}
	listener, err := config.Listen(context.Background(), "unix", path)
	if !errors.Is(err, syscall.EADDRINUSE) {
		return listener, err
	}
	if err := removeStale(path); err != nil {
		return nil, err
	}
	return config.Listen(context.Background(), "unix", path)
}

// ownerOnly sets the mode that bind will make the file with, so that it is never open to others (unix_bind_bsd takes
// the socket inode's mode, less the umask).
func ownerOnly(_, _ string, conn syscall.RawConn) error {
	var mode error
	err := conn.Control(func(fd uintptr) { mode = unix.Fchmod(int(fd), 0o600) })
	return errors.Join(err, mode)
}

// removeStale removes a socket on which nothing listens.
func removeStale(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return fmt.Errorf("%w, and it is not a socket; remove it or choose another path", fs.ErrExist)
	}
	conn, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		conn.Close()
		return fmt.Errorf("%w; stop it, or ask it with tracer diagnose, trace or top", errSocketTaken)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) { // it may live: its backlog may be full
		return fmt.Errorf("%w (%w); stop it or choose another path", errSocketTaken, err)
	}
	return os.Remove(path)
}
