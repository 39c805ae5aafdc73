package api

import (
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tracer/internal/export/exporttest"
	"tracer/internal/export/httpserver"
	"tracer/internal/trace/tracetest"
)

func newServer(source *fakeSource, path string) (*httpserver.Server, error) {
	return NewServer(ServerOptions{Path: path, Source: source, Names: tracetest.Cluster(), Log: quiet()})
}

func TestSocketMode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.sock")
	server, err := newServer(newSource(), path)
	if err != nil {
		t.Fatal(err)
	}
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := fs.ModeSocket | 0o600; info.Mode() != want {
		t.Errorf("mode %v, want %v", info.Mode(), want)
	}
	server.Close()
	if _, err := os.Lstat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left behind: %v", err)
	}
}

func TestSocketTaken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.sock")
	server, err := newServer(newSource(), path)
	exporttest.Start(t, server, err)
	_, err = newServer(newSource(), path)
	if !errors.Is(err, errSocketTaken) || !strings.Contains(err.Error(), path) {
		t.Errorf("second agent: %v", err)
	}
	client := Dial(path)
	defer client.Close()
	if _, err := client.Status(t.Context()); err != nil {
		t.Errorf("the first one was disturbed: %v", err)
	}
}

func TestStaleSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "agent.sock")
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false) // as after a SIGKILL
	dead.Close()
	server, err := newServer(newSource(), path)
	exporttest.Start(t, server, err)
	client := Dial(path)
	defer client.Close()
	if _, err := client.Status(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestSocketPaths(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(file, link); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{
		file:                            "it is not a socket",
		link:                            "it is not a socket",
		dir:                             "it is not a socket",
		filepath.Join(dir, "none", "s"): "no such file or directory",
		filepath.Join(dir, strings.Repeat("x", 200)): "longer than 107 bytes",
	} {
		if _, err := newServer(newSource(), path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	if content, err := os.ReadFile(file); err != nil || string(content) != "precious" {
		t.Errorf("the file is %q, %v", content, err)
	}
}
