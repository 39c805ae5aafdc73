package load

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"path/filepath"
	"time"
)

// Dialer opens a connection to the server. The lab's dials from inside the client's network namespace.
type Dialer func(ctx context.Context, network string) (net.Conn, error)

// Config is how much load the client offers.
type Config struct {
	Rate float64       `json:"rate"`            // UDP calls per second; the next is sent whether or not one was answered
	Size int           `json:"size_bytes"`      // UDP payload of a call, and of its answer
	TCP  time.Duration `json:"tcp_interval_ns"` // between two TCP calls of which one waits for the other; 0 for none
	// Sockets is from how many UDP sockets calls are sent in turn, 0 being 1. With several, the log of what was sent
	// has their ports: a call is identified by its port wherever it is seen.
	Sockets int `json:"sockets,omitempty"`
	// Work is how long the server takes for each call, over UDP and TCP.
	Work time.Duration `json:"work_ns,omitempty"`
}

// maxSockets is well below the number of ports.
const maxSockets = 4096

// AloneFor is for how long a call is the only one of its socket, with SocketsFor its rate. Who looks at the packets alone takes an answer that
// comes later for that of the socket's next call; and one that is not answered for the same call asked again, unless it is 30 s later.
const AloneFor = 32 * time.Second

// SocketsFor is from how many sockets calls are sent that nobody is to mistake for each other. Of more than 128 a second there would be too
// many: each is then alone for a shorter time.
func SocketsFor(rate float64) int {
	return int(min(maxSockets, 1+math.Ceil(rate*AloneFor.Seconds())))
}

// maxWork is no longer than a call is alone on its socket. How many the server can work on at once is Validate's concern.
const maxWork = 20 * time.Second

// Validate says what is wrong with the configuration.
func (c Config) Validate() error {
	switch {
	case !(c.Rate >= 0 && c.Rate <= 100_000):
		return fmt.Errorf("rate of %v calls a second: choose 0 to 100000", c.Rate)
	case c.Rate == 0 && c.TCP == 0:
		return errors.New("no load: give a rate, or an interval for TCP calls")
	case c.Size < MinSize || c.Size > MaxSize:
		return fmt.Errorf("size of %d bytes: choose %d (the time stamps) to %d (the overlay's MTU)", c.Size, MinSize, MaxSize)
	case c.Sockets < 0 || c.Sockets > maxSockets:
		return fmt.Errorf("%d sockets: choose up to %d", c.Sockets, maxSockets)
	case c.Work < 0 || c.Work > maxWork:
		return fmt.Errorf("%v of work for each call: choose up to %v", c.Work, maxWork)
	case c.Rate*c.Work.Seconds() > maxCalls:
		return fmt.Errorf("%v of work for each of %v calls a second: the server works on %d calls at most; choose up to %v, or a lower rate",
			c.Work, c.Rate, maxCalls, time.Duration(maxCalls/c.Rate*float64(time.Second)).Truncate(time.Millisecond))
	case c.TCP < 0 || c.TCP != 0 && c.TCP < time.Millisecond:
		return fmt.Errorf("interval of %v between TCP calls: choose 1ms or more, or 0 for none", c.TCP)
	}
	return nil
}

// Client calls a Server until its context ends.
type Client struct {
	Config
	Dial  Dialer
	Dir   string // where logs go
	Clock Clock
}

// Run calls and logs until ctx ends, and then returns nil.
func (c *Client) Run(ctx context.Context) error {
	var logs [3]*logFile
	for i, name := range []string{RequestsSent, Responses, Calls} {
		l, err := createLog(filepath.Join(c.Dir, name), logBytes)
		if err != nil {
			return err
		}
		defer l.Close()
		logs[i] = l
	}
	var conns []net.Conn
	closeAll := func() {
		for _, conn := range conns {
			conn.Close()
		}
	}
	var parts []func(context.Context) error
	for range max(1, c.Sockets) {
		conn, err := c.Dial(ctx, "udp")
		if err != nil {
			closeAll()
			return fmt.Errorf("open udp socket: %w", err)
		}
		conns = append(conns, conn)
		parts = append(parts, func(context.Context) error { return c.receive(conn, logs[1]) })
	}
	if c.Rate > 0 {
		parts = append(parts, func(ctx context.Context) error { return c.send(ctx, conns, logs[0]) })
	}
	if c.TCP > 0 {
		parts = append(parts, func(ctx context.Context) error { return c.callTCP(ctx, logs[2]) })
	}
	return runUntil(ctx, closeAll, logs[:], parts...)
}

// send is an open loop: call n leaves at its own time, however late the answers are. After a pause of the whole
// machine it does not make up for more than a tenth of a second.
func (c *Client) send(ctx context.Context, conns []net.Conn, log *logFile) error {
	ports := make([]uint16, len(conns))
	if len(conns) > 1 {
		for i, conn := range conns {
			ports[i] = conn.LocalAddr().(*net.UDPAddr).AddrPort().Port()
		}
	}
	interval := time.Duration(float64(time.Second) / c.Rate)
	b := make([]byte, c.Size)
	timer := time.NewTimer(0)
	defer timer.Stop()
	next := c.Clock()
	for seq := uint64(1); ; seq++ {
		if wait := next - c.Clock(); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return nil
			case <-timer.C:
			}
		} else if ctx.Err() != nil {
			return nil
		}
		p := packet{kind: request, seq: seq, sent: c.Clock()}
		p.put(b)
		// Logged in front of the sending: a reader never sees a packet received that was not sent.
		turn := int(seq % uint64(len(conns)))
		log.Append(Entry{Seq: seq, Sent: p.sent, Port: ports[turn]})
		if _, err := conns[turn].Write(b); errors.Is(err, net.ErrClosed) {
			return nil
		} // after any other error the call counts as sent and lost
		next = max(next+interval, c.Clock()-100*time.Millisecond)
	}
}

func (c *Client) receive(conn net.Conn, log *logFile) error {
	udp, ok := conn.(*net.UDPConn)
	if !ok {
		return fmt.Errorf("the connection for UDP is a %T", conn)
	}
	receiver, err := NewReceiver(udp, c.Clock)
	if err != nil {
		return err
	}
	b := make([]byte, MaxSize+1) // there are thousands of us
	for {
		n, _, arrived, received, err := receiver.Read(b)
		if errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			continue // an ICMP error: the server is not there yet, or no longer
		}
		p, err := parsePacket(b[:n])
		if err != nil || p.kind != response {
			continue
		}
		log.Append(Entry{
			Seq: p.seq, Sent: p.sent, Arrived: arrived, Received: received, Delay: received - p.sent, RoundTrip: received - p.call,
		})
	}
}

// CallTimeout is how long a TCP call may take before its connection is closed. A queue of a minute must not look like a
// dead server.
const CallTimeout = 2 * time.Minute

// callTCP makes one call after the other over one connection, as a web server with a pool of one would, and
// connects anew when it breaks.
func (c *Client) callTCP(ctx context.Context, log *logFile) error {
	tick := time.NewTicker(c.TCP)
	defer tick.Stop()
	var seq uint64
	for ctx.Err() == nil {
		if conn, err := c.Dial(ctx, "tcp"); err == nil {
			stop := context.AfterFunc(ctx, func() { conn.Close() })
			answers := bufio.NewReader(conn)
			for err == nil {
				select {
				case <-ctx.Done():
					err = ctx.Err()
					continue
				case <-tick.C:
				}
				seq++
				err = c.callOnce(conn, answers, seq, log)
			}
			stop()
			conn.Close()
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
	return nil
}
