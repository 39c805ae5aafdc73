package httpserver

import (
	"errors"
	"net"
	"net/http"
	"testing"
	"time"
)

// fakeListener hands out connections of a test.
type fakeListener struct{ conns chan net.Conn }

func (l fakeListener) Accept() (net.Conn, error) {
	conn, ok := <-l.conns
	if !ok {
		return nil, net.ErrClosed
	}
	return conn, nil
}
func (l fakeListener) Close() error   { return nil }
func (l fakeListener) Addr() net.Addr { return &net.UnixAddr{} }

// fakeConn tells when it is closed.
type fakeConn struct {
	net.Conn
	closed chan struct{}
}

func (c *fakeConn) Close() error {
	close(c.closed)
	return nil
}

func (c *fakeConn) isClosed() bool {
	select {
	case <-c.closed:
		return true
	default:
		return false
	}
}

func TestConnections(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	listener := fakeListener{make(chan net.Conn, 1)}
	c := newConnections(listener, 2, newPace(1))
	c.now = func() time.Time { return now }
	var conns []*fakeConn
	accepted := map[*fakeConn]net.Conn{}
	come := func() {
		conn := &fakeConn{closed: make(chan struct{})}
		conns = append(conns, conn)
		listener.conns <- conn
	}
	accept := func() error {
		got, err := c.Accept()
		if err == nil {
			c.follow(got, http.StateNew)
			accepted[got.(*pacedConn).Conn.(*fakeConn)] = got
		}
		return err
	}
	step := func(what string, closed ...int) {
		t.Helper()
		come()
		if err := accept(); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		for i, conn := range conns {
			want := false
			for _, n := range closed {
				want = want || n == i
			}
			if conn.isClosed() != want {
				t.Errorf("%s: connection %d closed: %v", what, i, !want)
			}
		}
	}
	step("the first")
	step("the second")
	c.follow(accepted[conns[0]], http.StateActive)
	c.follow(accepted[conns[1]], http.StateActive)
	c.follow(accepted[conns[1]], http.StateIdle)
	step("a third takes the idle one's place", 1)
	now = now.Add(newFor)
	step("a fourth that of one without a request", 1, 2)
	c.follow(accepted[conns[3]], http.StateActive)

	// All have a request: who comes next waits until one is answered.
	ended := make(chan error, 1)
	come()
	go func() { ended <- accept() }()
	select {
	case err := <-ended:
		t.Fatalf("there was no place, and yet: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	c.follow(accepted[conns[0]], http.StateClosed)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	c.follow(accepted[conns[4]], http.StateActive)
	come()
	go func() { ended <- accept() }()
	c.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) || !conns[5].isClosed() {
		t.Errorf("the end while one waits: %v", err)
	}
	c.follow(accepted[conns[1]], http.StateIdle) // closed before: is not counted again
	if len(c.open) != 2 {
		t.Errorf("%d connections", len(c.open))
	}
}
