package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"testing"
	"time"
)

// wire is a connection that keeps what passes, both ways.
type wire struct {
	net.Conn
	sent, received [][]byte // by write, by read
}

func (w *wire) Write(b []byte) (int, error) {
	w.sent = append(w.sent, bytes.Clone(b))
	return w.Conn.Write(b)
}

func (w *wire) Read(b []byte) (int, error) {
	n, err := w.Conn.Read(b)
	w.received = append(w.received, bytes.Clone(b[:n]))
	return n, err
}

// TestCallsAreHTTP: a call and its answer are text of HTTP/1.1, each as long as is said and, small as they are, written at once.
func TestCallsAreHTTP(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &Server{TCP: listener, Work: time.Millisecond}
	ended := make(chan error, 1)
	go func() { ended <- server.serveTCP(t.Context()) }()
	conn, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{Conn: conn}
	log, err := createLog(t.TempDir()+"/log", logBytes)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	client, from := &Client{Clock: Monotonic}, bufio.NewReader(w)
	for seq := range uint64(3) { // kept alive
		if err := client.callOnce(w, from, seq, log); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3 {
		call, answer := w.sent[i], w.received[i]
		if len(w.sent) != 3 || len(w.received) != 3 || len(call) != CallBytes || len(answer) != AnswerBytes {
			t.Fatalf("%d writes, %d reads; %d bytes are asked and %d answered, want %d and %d", len(w.sent), len(w.received), len(call), len(answer), CallBytes, AnswerBytes)
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(call)))
		if err != nil || r.Method != http.MethodGet || r.Proto != "HTTP/1.1" || r.Host != "api.default.svc" {
			t.Errorf("%v: %q", err, call)
		}
		a, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(answer)), r)
		if err != nil || a.StatusCode != http.StatusOK {
			t.Fatalf("%v: %q", err, answer)
		}
		if body, err := io.ReadAll(a.Body); err != nil || !bytes.Equal(body, answerBody) {
			t.Errorf("%v: %q", err, body)
		}
	}
	conn.Close()
	listener.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("it serves until its listener is closed: %v", err)
	}
}
