package main

import (
	"bytes"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"

	"tracer/internal/export/api"
)

func TestConnect(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	if err := connect(socket, strings.NewReader(""), io.Discard); !errors.Is(err, api.ErrNoAgent) {
		t.Errorf("without an agent: %v", err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	asked := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			asked <- err.Error()
			return
		}
		defer conn.Close()
		request, _ := io.ReadAll(conn) // to where standard input ends
		asked <- string(request)
		_, _ = conn.Write([]byte("answer"))
	}()
	var out bytes.Buffer
	if err := connect(socket, strings.NewReader("request"), &out); err != nil || out.String() != "answer" {
		t.Errorf("%q, %v", out.String(), err)
	}
	if got := <-asked; got != "request" {
		t.Errorf("the agent was asked %q", got)
	}
}
