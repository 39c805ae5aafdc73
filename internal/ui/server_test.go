package ui

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
)

// serve runs a server until the test ends, and returns its address and token.
func serve(t *testing.T, agent http.Handler) (address, token string) {
	t.Helper()
	server, err := New(Options{Agent: agent})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(server.URL())
	if err != nil {
		t.Fatal(err)
	}
	if host, _, err := net.SplitHostPort(u.Host); err != nil || host != "127.0.0.1" {
		t.Errorf("it listens on %s", u.Host)
	}
	token, ok := strings.CutPrefix(u.Fragment, "token=")
	if !ok || len(token) < 26 {
		t.Errorf("the token is %q", token)
	}
	return "http://" + u.Host, token
}

func get(t *testing.T, address, token string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(TokenHeader, token)
	r.Header.Set("Cookie", "of=another server on 127.0.0.1")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// TestRelay: lines come as the agent sends them, nothing but the request goes to it; and an agent that goes and comes back is told.
func TestRelay(t *testing.T) {
	t.Parallel()
	socket := filepath.Join(t.TempDir(), "agent.sock")
	address, token := serve(t, Relay(socket))

	refused := func() string {
		answer := get(t, address+"/v1/overview", token)
		var refusal struct{ Error string }
		if err := json.NewDecoder(answer.Body).Decode(&refusal); err != nil || answer.StatusCode != http.StatusBadGateway {
			t.Fatalf("without an agent: %s: %v", answer.Status, err)
		}
		return refusal.Error
	}
	if got := refused(); !strings.Contains(got, "no agent runs here") {
		t.Errorf("without an agent: %s", got)
	}

	for range 2 {
		listener, err := net.Listen("unix", socket)
		if err != nil {
			t.Fatal(err)
		}
		next := make(chan string)
		agent := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			for name := range r.Header {
				if name != "User-Agent" && name != "X-Forwarded-For" {
					t.Errorf("the agent is told %s: %s", name, r.Header.Get(name))
				}
			}
			if r.Host != "agent" || r.URL.Path != "/v1/overview" || r.URL.RawQuery != "by=pair&filter=p99%3E10ms" {
				t.Errorf("the agent is asked %s %s", r.Host, r.URL)
			}
			w.Header().Set("Content-Type", "application/jsonl")
			for line := range next {
				_, _ = io.WriteString(w, line)
				_ = http.NewResponseController(w).Flush()
			}
		})}
		go func() { _ = agent.Serve(listener) }()
		answer := func() *http.Response {
			go func() { next <- "0\n" }() // a header comes with what follows it
			return get(t, address+"/v1/overview?by=pair&filter=p99%3E10ms", token)
		}()
		lines := bufio.NewReader(answer.Body)
		for i := range 3 {
			if i > 0 {
				next <- fmt.Sprintln(i)
			}
			if line, err := lines.ReadString('\n'); err != nil || line != fmt.Sprintln(i) { // before the next is sent
				t.Fatalf("%q, %v", line, err)
			}
		}
		agent.Close()
		if _, err := lines.ReadString('\n'); err == nil {
			t.Error("the stream of an agent that has stopped goes on")
		}
		close(next)
		refused()
	}
}

// TestPortTaken: an error says so.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	if _, err := New(Options{Port: listener.Addr().(*net.TCPAddr).Port}); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("%v", err)
	}
}
