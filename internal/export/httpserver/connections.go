package httpserver

import (
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	// maxConnections is how many connections a server holds. Each takes some 20 KiB, with TLS 50, and up to 200 more while a header of
	// 8 KiB is read.
	maxConnections = 128
	// newFor is how long a new connection is kept without a request while others wait for its place.
	newFor = 100 * time.Millisecond
	// lookEvery is how often one that waits for a place looks whether another may be closed.
	lookEvery = 20 * time.Millisecond
	// maxNew is how many connections are accepted in a second: each takes some 100 µs of a CPU, whatever it is for.
	maxNew = 1000
)

// connections is a listener that bounds how many of its connections are open at once. A further one takes the place of the
// one that has been idle longest or has sent no request; while all have a request under way, it waits. New connections wait for
// their turn, and so does what is read of them.
type connections struct {
	net.Listener
	max    int
	now    func() time.Time
	news   *pace
	reads  *pace
	freed  chan struct{} // a place has become free
	ended  chan struct{} // by Close
	ending sync.Once

	mu   sync.Mutex
	open map[net.Conn]connection
}

// connection is in a state since a time.
type connection struct {
	state http.ConnState
	since time.Time
}

// pacedConn waits for its turn with what it has read, however little that was: a step of a TLS handshake, part of a header.
type pacedConn struct {
	net.Conn
	reads *pace
	ended chan struct{} // by Close
	end   func()
}

// Read implements net.Conn.
func (c *pacedConn) Read(p []byte) (n int, err error) {
	n, err = c.Conn.Read(p)
	if n > 0 && !c.reads.wait(c.ended) {
		return 0, net.ErrClosed
	}
	return n, err
}

// Close implements net.Conn.
func (c *pacedConn) Close() error {
	c.end()
	return c.Conn.Close()
}

func newConnections(l net.Listener, most int, reads *pace) *connections {
	return &connections{
		Listener: l, max: most, now: time.Now, news: newPace(maxNew), reads: reads, freed: make(chan struct{}, 1), ended: make(chan struct{}), open: map[net.Conn]connection{},
	}
}

// Accept implements net.Listener.
func (c *connections) Accept() (net.Conn, error) {
	accepted, err := c.Listener.Accept()
	if err != nil {
		return nil, err
	}
	ended := make(chan struct{})
	conn := &pacedConn{accepted, c.reads, ended, sync.OnceFunc(func() { close(ended) })}
	if !c.news.wait(c.ended) {
		conn.Close()
		return nil, net.ErrClosed
	}
	for !c.admit(conn) {
		look := time.NewTimer(lookEvery)
		select {
		case <-c.freed:
		case <-look.C:
		case <-c.ended:
			look.Stop()
			conn.Close()
			return nil, net.ErrClosed
		}
		look.Stop()
	}
	return conn, nil
}

// Close implements net.Listener.
func (c *connections) Close() error {
	c.ending.Do(func() { close(c.ended) })
	return c.Listener.Close()
}

// admit gives a connection a place, if there is one or another can be closed for it.
func (c *connections) admit(conn net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	if len(c.open) >= c.max {
		var oldest net.Conn
		for other, o := range c.open {
			waits := o.state == http.StateIdle || o.state == http.StateNew && now.Sub(o.since) >= newFor
			if waits && (oldest == nil || o.since.Before(c.open[oldest].since)) {
				oldest = other
			}
		}
		if oldest == nil {
			return false
		}
		delete(c.open, oldest)
		oldest.Close()
	}
	c.open[conn] = connection{http.StateNew, now}
	return true
}

// follow is the server's ConnState hook.
func (c *connections) follow(conn net.Conn, state http.ConnState) {
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.open[conn]; !ok || state == http.StateNew {
		return // closed for another; or as Accept has noted
	}
	if state != http.StateClosed && state != http.StateHijacked {
		c.open[conn] = connection{state, c.now()}
		if state != http.StateIdle {
			return
		}
	} else {
		delete(c.open, conn)
	}
	select {
	case c.freed <- struct{}{}:
	default:
	}
}
