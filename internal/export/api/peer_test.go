package api

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/export/exporttest"
)

// requestAs makes a request as a user and group without any right, and returns all that is answered, or why nobody could be asked.
func requestAs(uid, gid int, path, request string) (text string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: users are of threads, and this one never becomes root again
		for _, call := range []struct{ number, a, b, c uintptr }{
			{unix.SYS_SETGROUPS, 0, 0, 0},
			{unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)},
			{unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)},
		} {
			if _, _, errno := unix.RawSyscall(call.number, call.a, call.b, call.c); errno != 0 {
				err = errno
				return
			}
		}
		var conn net.Conn
		if conn, err = net.Dial("unix", path); err != nil {
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, request+" HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n") // it may be closed already
		answer, _ := io.ReadAll(conn)                                                                // with an error where what was asked was not read
		text = string(answer)
	}()
	<-done
	return text, err
}

// askAs asks for the status as a user.
func askAs(t *testing.T, uid int, path string) string {
	t.Helper()
	text, err := requestAs(uid, uid, path, "GET /v1/status")
	if err != nil {
		t.Fatal(err)
	}
	return text
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
	answer, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(refused(refusedToAll))), nil)
	if err != nil || answer.StatusCode != http.StatusForbidden || !answer.Close {
		t.Fatalf("%+v, %v", answer, err)
	}
	defer answer.Body.Close()
	var body apiError
	if err := json.NewDecoder(answer.Body).Decode(&body); err != nil || body.Error != refusedToAll {
		t.Errorf("%+v, %v", body, err)
	}
}
