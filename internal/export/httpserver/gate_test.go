package httpserver

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// passwords is a handler as the exporters' toolkit has it.
type passwords struct {
	behind   http.Handler
	compared atomic.Int64
	at       atomic.Int64 // how many are compared now
}

func (p *passwords) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, password, given := r.BasicAuth()
	if given {
		p.compared.Add(1)
		if p.at.Add(1) > 1 {
			panic("two passwords are compared at once")
		}
		defer p.at.Add(-1)
	}
	if password != "right" {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	p.at.Add(-1)
	defer p.at.Add(1)
	p.behind.ServeHTTP(w, r)
}

func ask(h http.Handler, address, password string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.RemoteAddr = address
	if password != "" {
		r.SetBasicAuth("prometheus", password)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func TestPasswords(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	p := &passwords{behind: passed(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))}
	g := newGate(p, newPace(DefaultTurns))
	g.now = func() time.Time { return now }
	var refused atomic.Int64
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			switch w := ask(g, "192.0.2.1:1000", "wrong"); {
			case w.Code == http.StatusTooManyRequests && w.Header().Get("Retry-After") == "1":
				refused.Add(1)
			case w.Code != http.StatusUnauthorized:
				t.Errorf("a wrong password: %d", w.Code)
			}
		})
	}
	all.Wait()
	if compared := p.compared.Load(); compared != 1 || refused.Load() != 999 {
		t.Errorf("1000 at once: %d compared, %d refused", compared, refused.Load())
	}
	if w := ask(g, "192.0.2.2:1000", "right"); w.Code != http.StatusOK {
		t.Errorf("another address: %d", w.Code)
	}
	if w := ask(g, "192.0.2.1:1001", ""); w.Code != http.StatusUnauthorized {
		t.Errorf("without a password: %d", w.Code)
	}
	now = now.Add(passwordPause)
	if w := ask(g, "192.0.2.1:1001", "right"); w.Code != http.StatusOK {
		t.Errorf("later: %d", w.Code)
	}
	for i := range 2 * maxPaused {
		g.pause(strings.Repeat("x", i))
	}
	if n := len(g.paused); n > maxPaused {
		t.Errorf("%d addresses are kept", n)
	}
}

// Scrapes whose password was right go on beside each other.
func TestScrapesWithPassword(t *testing.T) {
	t.Parallel()
	both := make(chan struct{}, 2)
	arrived := make(chan struct{})
	g := newGate(&passwords{behind: passed(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		both <- struct{}{}
		<-arrived
	}))}, newPace(DefaultTurns))
	var all sync.WaitGroup
	for range 2 {
		all.Go(func() { ask(g, "192.0.2.1:1", "right") })
	}
	for range 2 {
		<-both
	}
	close(arrived)
	all.Wait()
}

func TestBody(t *testing.T) {
	t.Parallel()
	g := newGate(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("it came through") }), newPace(DefaultTurns))
	server := httptest.NewServer(g)
	defer server.Close()
	response, err := http.Post(server.URL, "text/plain", io.LimitReader(strings.NewReader("some"), 4))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	http.DefaultClient.CloseIdleConnections()
	if response.StatusCode != http.StatusRequestEntityTooLarge || !response.Close {
		t.Errorf("%s, closing %v", response.Status, response.Close)
	}
}
