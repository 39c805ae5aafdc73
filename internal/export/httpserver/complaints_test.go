package httpserver

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestComplaints(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	var out bytes.Buffer
	c := complaints{log: slog.New(slog.NewTextHandler(&out, nil)), name: "metrics", now: func() time.Time { return now }}
	for range 1000 {
		fmt.Fprintln(&c, "http: TLS handshake error from 192.0.2.1:1000: EOF")
	}
	if n := strings.Count(out.String(), "\n"); n != 1 || !strings.Contains(out.String(), "TLS handshake error") {
		t.Errorf("%d lines: %s", n, out.String())
	}
	now = now.Add(complainEvery)
	fmt.Fprintln(&c, "http: another")
	if n := strings.Count(out.String(), "\n"); n != 2 || !strings.Contains(out.String(), "left_out=999") {
		t.Errorf("%d lines: %s", n, out.String())
	}
}
