package api

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/export/exporttest"
)

// askAs asks for the status as a user, and returns all that is answered.
func askAs(t *testing.T, uid int, path string) string {
	t.Helper()
	type answer struct {
		text string
		err  error
	}
	done := make(chan answer)
	go func() {
		runtime.LockOSThread() // for good: users are of threads, and this one never becomes root again
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
			done <- answer{err: errno}
			return
		}
		conn, err := net.Dial("unix", path)
		if err != nil {
			done <- answer{err: err}
			return
		}
		defer conn.Close()
		_, _ = conn.Write([]byte("GET /v1/status HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")) // it may be closed already
		text, _ := io.ReadAll(conn)                                                                      // with an error where what was asked was not read
		done <- answer{text: string(text)}
	}()
	a := <-done
	if a.err != nil {
		t.Fatal(a.err)
	}
	return a.text
}

// TestPeer: who is not root is refused even where the socket's mode lets everybody in.
func TestPeer(t *testing.T) {
	t.Parallel()
	dir, err := os.MkdirTemp("", "peer-") // the test's own is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "agent.sock")
	var log bytes.Buffer
	server, err := NewServer(ServerOptions{Path: path, Source: newSource(), Log: slog.New(slog.NewTextHandler(&log, nil))})
	exporttest.Start(t, server, err)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	for range 50 {
		if got := askAs(t, 65534, path); !strings.Contains(got, "403 Forbidden") || strings.Contains(got, "200 OK") {
			t.Fatalf("another user is told %q", got)
		}
	}
	if got := askAs(t, 0, path); !strings.Contains(got, "200 OK") {
		t.Errorf("root is told %q", got)
	}
	if n := strings.Count(log.String(), "refused to answer"); n != 1 || !strings.Contains(log.String(), "uid=65534") {
		t.Errorf("fifty refusals are logged so: %s", &log)
	}
}

// TestRefusal: what is sent before a request is read is an answer by HTTP's rules.
func TestRefusal(t *testing.T) {
	t.Parallel()
	if header, body, _ := strings.Cut(refused, "\r\n\r\n"); !strings.Contains(header, "Content-Length: 54") || len(body) != 54 {
		t.Errorf("%q has %d bytes", body, len(body))
	}
}
