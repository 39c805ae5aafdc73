package health

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"tracer/internal/export/api"
	"tracer/internal/export/exporttest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHealth(t *testing.T) {
	t.Parallel()
	var status atomic.Pointer[api.Status]
	server, err := NewServer(Options{
		Address: "127.0.0.1:0", Status: func() api.Status { return *status.Load() },
		Now: func() time.Time { return exporttest.Noon }, Log: slog.New(slog.DiscardHandler),
	})
	exporttest.Start(t, server, err)
	for _, test := range []struct {
		path   string
		age    time.Duration
		hooked bool
		code   int
		body   string
	}{
		{"/healthz", 0, false, http.StatusOK, "ok\n"},
		{"/healthz", maxReadAge, false, http.StatusOK, "ok\n"},
		{"/healthz", maxReadAge + time.Second, true, http.StatusServiceUnavailable, "the record reader has not run for 31s\n"},
		{"/readyz", time.Hour, true, http.StatusOK, "ok\n"},
		{"/readyz", 0, false, http.StatusServiceUnavailable, "no hook is attached to an overlay or uplink device; tracer check says why\n"},
		{"/", 0, true, http.StatusNotFound, "404 page not found\n"},
	} {
		status.Store(&api.Status{LastRead: exporttest.Noon.Add(-test.age), Hooked: test.hooked})
		if code, body := exporttest.Get(t, http.DefaultClient, "http://"+server.Addr().String()+test.path); code != test.code || body != test.body {
			t.Errorf("%+v: %d %q", test, code, body)
		}
	}
}
