package main

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestVersion: what a program needs to know before it talks to an agent or takes over its files.
func TestVersion(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	cmd := newRootCommand(shipped())
	cmd.SetOut(&out)
	cmd.SetArgs([]string{"version", "-o", "json", "--run-dir", t.TempDir()})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	var got map[string]any
	if err := json.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	state := got["state"].(map[string]any)
	if got["schema_version"] != 1.0 || got["version"] != version || got["socket"] != "v1" || got["agent"] != nil ||
		state["identities.json"] != 1.0 || state["usual.json"] != 1.0 || !strings.HasPrefix(got["platform"].(string), "linux/") {
		t.Errorf("%s", out.Bytes())
	}
}

// TestVersionOfAgent asks an agent of a later version, which says more than we know.
func TestVersionOfAgent(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/status" {
			http.NotFound(w, r)
			return
		}
		_, _ = io.WriteString(w, `{"version":"v0.2.0","node":"node1","started":"2026-12-01T10:00:00Z","later":{"than":"ours"}}`)
	})}
	go func() { _ = server.Serve(listener) }() // ends with Close
	t.Cleanup(func() { server.Close() })

	v := ourVersions()
	if v.Agent, err = askVersion(t.Context(), socket); err != nil {
		t.Fatal(err)
	}
	if want := (agentVersion{"v0.2.0", "node1", time.Date(2026, 12, 1, 10, 0, 0, 0, time.UTC)}); *v.Agent != want {
		t.Errorf("%+v", *v.Agent)
	}
	v.Commit = "c0ffee"
	var text strings.Builder
	if err := v.write(&text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"tracer  " + version + ", commit c0ffee, go1.", "agent   v0.2.0 on node1, since 2026-12-01T10:00:00Z\n", "socket  v1\n"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in\n%s", want, text.String())
		}
	}
}
