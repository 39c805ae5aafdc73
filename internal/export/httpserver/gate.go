package httpserver

import (
	"context"
	"crypto/sha256"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// bodyTimeout is how long a client may take over a body that nobody wants, before the connection is closed.
	bodyTimeout = time.Second
	// passwordPause is how long an address waits after a wrong password: comparing one takes some 50 ms of a CPU.
	passwordPause = time.Second
	// maxPaused bounds the addresses that wait.
	maxPaused = 1024
)

// gate refuses, before anything else is done for them, requests with a body, which none of ours has, and those of addresses
// that have just given a wrong password. Passwords are compared one at a time. Each request waits for its turn: one read may bring many
// (HTTP/2, pipelining).
type gate struct {
	handler http.Handler // compares passwords, if they are asked for, and calls passed
	turns   *pace
	now     func() time.Time
	compare chan struct{} // held while a password is compared

	mu     sync.Mutex
	paused map[string]time.Time // by address, until when
	passed [sha256.Size]byte    // of the credentials that were right last
}

// attempt is the key of a request's context for a function that says that its password was right.
type attempt struct{}

func newGate(h http.Handler, turns *pace) *gate {
	return &gate{handler: h, turns: turns, now: time.Now, compare: make(chan struct{}, 1), paused: map[string]time.Time{}}
}

// passed is a handler behind the comparison of passwords.
func passed(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if right, ok := r.Context().Value(attempt{}).(func()); ok {
			right()
		}
		h.ServeHTTP(w, r)
	})
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !g.turns.wait(r.Context().Done()) {
		return
	}
	if r.ContentLength != 0 {
		_ = http.NewResponseController(w).SetReadDeadline(g.now().Add(bodyTimeout))
		w.Header().Set("Connection", "close")
		http.Error(w, "a request has no body here", http.StatusRequestEntityTooLarge)
		return
	}
	address, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || r.Header.Get("Authorization") == "" { // a unix socket's; or nothing to compare
		g.handler.ServeHTTP(w, r)
		return
	}
	select {
	case g.compare <- struct{}{}:
	case <-r.Context().Done():
		return
	}
	credentials := sha256.Sum256([]byte(r.Header.Get("Authorization")))
	done := sync.OnceFunc(func() { <-g.compare })
	defer done()
	right := func() {
		done()
		g.mu.Lock()
		defer g.mu.Unlock()
		g.passed = credentials
	}
	// Many may have one address, of which one does not know the password.
	if !g.mayTry(address, credentials) {
		w.Header().Set("Retry-After", fmt.Sprint(int(passwordPause.Seconds())))
		http.Error(w, "a wrong password came from this address; try again later", http.StatusTooManyRequests)
		return
	}
	answer := &answer{ResponseWriter: w}
	g.handler.ServeHTTP(answer, r.WithContext(context.WithValue(r.Context(), attempt{}, right)))
	if answer.code == http.StatusUnauthorized {
		g.pause(address)
	}
}

// mayTry tells whether an address is not paused, or who asks from there has been let in before by the same credentials.
func (g *gate) mayTry(address string, credentials [sha256.Size]byte) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if credentials == g.passed {
		return true
	}
	until, ok := g.paused[address]
	if ok && g.now().Before(until) {
		return false
	}
	delete(g.paused, address)
	return true
}

func (g *gate) pause(address string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.paused) >= maxPaused {
		clear(g.paused)
	}
	g.paused[address] = g.now().Add(passwordPause)
}

// answer notes the status of an answer.
type answer struct {
	http.ResponseWriter
	code int
}

func (a *answer) WriteHeader(code int) {
	a.code = code
	a.ResponseWriter.WriteHeader(code)
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
