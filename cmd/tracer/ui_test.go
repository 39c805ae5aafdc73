package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
)

// TestUI: the command prints where the page is, needs no agent for that, and ends well with Ctrl-C.
func TestUI(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	cmd := newUICommand()
	cmd.SetArgs([]string{"--no-browser", "--socket", filepath.Join(t.TempDir(), "none.sock")})
	out, in := io.Pipe()
	cmd.SetOut(in)
	ended := make(chan error, 1)
	go func() { ended <- cmd.ExecuteContext(ctx) }()
	lines := bufio.NewReader(out)
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	go func() { _, _ = io.Copy(io.Discard, lines) }()
	address, _, ok := strings.Cut(line, "#token=")
	if !ok || !strings.HasPrefix(address, "http://127.0.0.1:") {
		t.Fatalf("it prints %q", line)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	page, err := io.ReadAll(answer.Body)
	answer.Body.Close()
	if err != nil || !strings.Contains(string(page), "<title>tracer</title>") {
		t.Errorf("%v: %s", err, page)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("after Ctrl-C: %v", err)
	}

	cmd = newUICommand()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs([]string{"--port", "70000"})
	if err := cmd.ExecuteContext(t.Context()); err == nil || !strings.Contains(err.Error(), "--port 70000") {
		t.Errorf("a port that is none: %v", err)
	}
}
