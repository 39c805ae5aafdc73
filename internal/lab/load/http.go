package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"
)

// Calls over TCP are HTTP/1.1: web asks api for an item, which queries for it as long as the server works.

// CallBytes and AnswerBytes are how long a call and its answer are, with their headers, in bytes.
const (
	CallBytes   = 120
	AnswerBytes = 600
)

// newCall is the request with that number.
func newCall(seq uint64) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://api.default.svc/items/%028d", seq), nil)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "web/1")
	return r, nil
}

// answerBody fills an answer, of which net/http's headers take 109 bytes.
var answerBody = []byte(`{"item":"` + strings.Repeat("x", AnswerBytes-109-len(`{"item":""}`)) + `"}`)

// answerCall is api: it works, and answers.
func (s *Server) answerCall(w http.ResponseWriter, r *http.Request) {
	time.Sleep(s.Work)
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answerBody) // who asked may have gone
}

func (s *Server) serveTCP(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /items/{id}", s.answerCall)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: CallTimeout, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	if err := server.Serve(s.TCP); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve tcp: %w", err)
	}
	return nil
}

// callOnce makes a call over a connection, with its answers read through from, and logs how long that took.
func (c *Client) callOnce(conn net.Conn, from *bufio.Reader, seq uint64, log *logFile) error {
	call, err := newCall(seq)
	if err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(CallTimeout)); err != nil {
		return err
	}
	sent := c.Clock()
	if err := call.Write(conn); err != nil {
		return err
	}
	answer, err := http.ReadResponse(from, call)
	if err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("call %d: %s", seq, answer.Status)
	}
	received := c.Clock()
	log.Append(Entry{Seq: seq, Sent: sent, Received: received, Delay: received - sent})
	return nil
}
