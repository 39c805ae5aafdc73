package httpserver

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestPace takes turns without a pause, has one who waits give up, and pauses.
func TestPace(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newPace(100)
		begin := time.Now()
		take := func(turns int, want time.Duration) {
			t.Helper()
			for range turns {
				if !p.wait(nil) {
					t.Fatal("no turn")
				}
			}
			if took := time.Since(begin); took != want {
				t.Errorf("after %d turns %v have passed, want %v", turns, took, want)
			}
		}
		take(101, 0)
		take(200, 2*time.Second)
		ended := make(chan struct{})
		close(ended)
		if p.wait(ended) {
			t.Error("one who gave up has a turn")
		}
		take(1, 2*time.Second+10*time.Millisecond)
		time.Sleep(time.Hour)
		begin = time.Now()
		take(101, 0)
		take(1, 10*time.Millisecond)
	})
}

// skipAnswer reads one answer.
func skipAnswer(from *bufio.Reader) error {
	answer, err := http.ReadResponse(from, nil)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, answer.Body)
	return err
}

// TestTurns has clients do what they can without a pause: the server takes its time for connections, for what it reads and for requests.
func TestTurns(t *testing.T) {
	t.Parallel()
	for name, client := range map[string]func(connect func() net.Conn) error{
		"requests": func(connect func() net.Conn) error {
			conn := connect()
			answers := bufio.NewReader(conn)
			for range 50 { // of two turns each
				if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
					return err
				}
				if err := skipAnswer(answers); err != nil {
					return err
				}
			}
			return nil
		},
		"requests at once": func(connect func() net.Conn) error {
			conn := connect()
			go func() { _, _ = io.WriteString(conn, strings.Repeat("GET / HTTP/1.1\r\nHost: x\r\n\r\n", 100)) }()
			answers := bufio.NewReader(conn)
			for range 100 {
				if err := skipAnswer(answers); err != nil {
					return err
				}
			}
			return nil
		},
		"bytes": func(connect func() net.Conn) error {
			conn := connect()
			for _, b := range []byte(strings.Repeat("X", 102)) {
				if _, err := conn.Write([]byte{b}); err != nil {
					return err
				}
			}
			return nil
		},
		"connections": func(connect func() net.Conn) error {
			for range 2 * maxNew {
				connect().Close()
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				conns := make(chan net.Conn)
				s := New(Options{Name: "tests", Listener: fakeListener{conns}, Handler: http.NotFoundHandler(), Turns: 50})
				ended := make(chan error, 1)
				go func() { ended <- s.Serve(ctx) }()
				begin := time.Now()
				var open []net.Conn
				err := client(func() net.Conn {
					ours, theirs := net.Pipe()
					open = append(open, ours)
					conns <- theirs
					return ours
				})
				// The turns of the first second are taken at once.
				if took := time.Since(begin); err != nil || took < 900*time.Millisecond {
					t.Errorf("all was done in %v, %v", took, err)
				}
				for _, conn := range open {
					conn.Close()
				}
				cancel()
				close(conns)
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}
