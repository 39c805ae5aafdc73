package api

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"tracer/internal/export/exporttest"
	"tracer/internal/trace/tracetest"
)

// viewers is a group of which no user of this machine is.
const viewers = 49_435

func startViewers(t *testing.T) (path string) {
	t.Helper()
	// Under a directory that others may enter: tests' own may not.
	dir, err := os.MkdirTemp("", "viewer")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path = filepath.Join(dir, "agent.sock")
	server, err := NewViewerServer(ServerOptions{Path: path, Source: newSource(), Names: tracetest.Cluster(), Log: quiet()}, viewers)
	exporttest.Start(t, server, err)
	return path
}

// TestViewers has an unprivileged user of the group ask what people look at, and nobody else.
func TestViewers(t *testing.T) {
	t.Parallel()
	path := startViewers(t)
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := fs.ModeSocket | 0o660; info.Mode() != want || info.Sys().(*syscall.Stat_t).Gid != viewers || info.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("mode %v, %+v, want %v of group %d", info.Mode(), info.Sys(), want, viewers)
	}
	for request, want := range map[string]string{
		"GET /v1/status":    "200 OK",
		"GET /v1/findings":  "200 OK",
		"GET /v1/diagnosis": "200 OK",
		"GET /v1/path?src=10.0.0.1&dst=10.0.0.2&window=1s": "200 OK",
		"GET /v1/trace?headers=true":                       "403 Forbidden",
		"GET /v1/snapshot":                                 "403 Forbidden",
		"GET /v1/devices":                                  "403 Forbidden",
		"GET /v1/incidents":                                "403 Forbidden",
		"GET /":                                            "403 Forbidden",
		"GET /v1/../v1/status":                             "403 Forbidden",
		"GET //v1/snapshot":                                "403 Forbidden",
		"POST /v1/status":                                  "403 Forbidden",
		"PUT /v1/path":                                     "403 Forbidden",
		"DELETE /v1/findings":                              "403 Forbidden",
	} {
		answer, err := requestAs(65534, viewers, path, request)
		if line, _, _ := strings.Cut(answer, "\r\n"); err != nil || !strings.HasSuffix(line, want) && !(want == "403 Forbidden" && strings.Contains(line, "307")) {
			t.Errorf("%s: %q, %v, want %s", request, line, err, want)
		}
	}
	if _, err := requestAs(65534, 65534, path, "GET /v1/status"); err == nil {
		t.Error("another group is let in by the file's mode")
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	answer, err := requestAs(65534, 65534, path, "GET /v1/status")
	if err != nil || !strings.Contains(answer, "403 Forbidden") || !strings.Contains(answer, refusedToViewers) {
		t.Errorf("another group, where the mode is open: %q, %v", answer, err)
	}
	if answer, err := requestAs(0, 0, path, "GET /v1/status"); err != nil || !strings.Contains(answer, "200 OK") {
		t.Errorf("root: %q, %v", answer, err)
	}
}

// TestViewersRefused has what is not named refused, whatever the first socket may answer one day.
func TestViewersRefused(t *testing.T) {
	t.Parallel()
	h := viewerHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	for request, want := range map[string]int{
		"GET /v1/status": http.StatusTeapot, "HEAD /v1/status": http.StatusTeapot, "GET /v1/trace": http.StatusTeapot, "GET /v1/overview": http.StatusTeapot,
		"GET /v1/trace?pod=web&drops=true": http.StatusTeapot,
		"GET /v1/trace?headers=true":       http.StatusForbidden, "HEAD /v1/trace?headers=1": http.StatusForbidden, "GET /v1/trace?pod=web&%68eaders=true": http.StatusForbidden,
		"POST /v1/trace": http.StatusForbidden, "GET /v1/status/more": http.StatusForbidden, "GET /v2/status": http.StatusForbidden, "GET /v1/settings": http.StatusForbidden,
	} {
		method, path, _ := strings.Cut(request, " ")
		answer := httptest.NewRecorder()
		h.ServeHTTP(answer, httptest.NewRequest(method, path, nil))
		if answer.Code != want {
			t.Errorf("%s: %d, want %d", request, answer.Code, want)
		}
	}
}

// TestViewersGroup wants a group of its own.
func TestViewersGroup(t *testing.T) {
	t.Parallel()
	if _, err := NewViewerServer(ServerOptions{Path: filepath.Join(t.TempDir(), "s"), Source: newSource(), Names: tracetest.Cluster(), Log: quiet()}, 0); err == nil || !strings.Contains(err.Error(), "group 0") {
		t.Error(err)
	}
}
