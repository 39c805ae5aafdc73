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
	"tracer/internal/netdev"
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
		hooks  []api.HookStatus
		code   int
		body   string
	}{
		{"/healthz", 0, false, nil, http.StatusOK, "ok\n"},
		{"/healthz", maxReadAge, false, nil, http.StatusOK, "ok\n"},
		{"/healthz", maxReadAge + time.Second, true, nil, http.StatusServiceUnavailable, "the record reader has not run for 31s\n"},
		{"/readyz", time.Hour, true, nil, http.StatusOK, "ok\n"},
		{"/readyz", 0, false, []api.HookStatus{
			{Hook: "egress", Device: "cali1", Role: netdev.RolePod, Silent: true, Error: "attached, in vain"},
			{Hook: "ingress", Device: "eth0", Role: netdev.RoleUplink, Silent: true, Error: "attached, but no packet reaches it"},
		}, http.StatusServiceUnavailable, "the hook ingress of eth0 is attached, but no packet reaches it\n"},
		{"/readyz", 0, false, nil, http.StatusServiceUnavailable, "no hook is attached to an overlay or uplink device; tracer check says why\n"},
		{"/", 0, true, nil, http.StatusNotFound, "404 page not found\n"},
	} {
		status.Store(&api.Status{LastRead: exporttest.Noon.Add(-test.age), Hooked: test.hooked, Hooks: test.hooks})
		if code, body := exporttest.Get(t, http.DefaultClient, "http://"+server.Addr().String()+test.path); code != test.code || body != test.body {
			t.Errorf("%+v: %d %q", test, code, body)
		}
	}
}
