package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/lab"
)

// Ports of the other node's pod that send back what they get. With them and the senders' ports there are four times 60,000
// flows.
const (
	firstEcho  = 9000
	echoes     = 4
	firstPort  = 5000
	portsSpent = 60000
)

// echo answers in the api pod until ctx ends.
func (c *cluster) echo(ctx context.Context) error {
	pod, _ := c.Pod(lab.API)
	for i := range echoes {
		var conn *net.UDPConn
		err := pod.Do(func() (err error) {
			conn, err = net.ListenUDP("udp4", &net.UDPAddr{Port: firstEcho + i})
			return err
		})
		if err != nil {
			return err
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		go func() {
			buffer := make([]byte, 2048)
			for {
				n, from, err := conn.ReadFromUDPAddrPort(buffer)
				if err != nil {
					return
				}
				_, _ = conn.WriteToUDPAddrPort(buffer[:n], from) // what is lost is counted by the sender
			}
		}()
	}
	return c.echoTCP(ctx)
}

// echoTCP answers there at the first of the ports.
func (c *cluster) echoTCP(ctx context.Context) error {
	pod, _ := c.Pod(lab.API)
	var listener *net.TCPListener
	err := pod.Do(func() (err error) {
		listener, err = net.ListenTCP("tcp4", &net.TCPAddr{Port: firstEcho})
		return err
	})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_ = conn.SetDeadline(time.Now().Add(10 * time.Second)) // it may have been closed
				_, _ = io.Copy(conn, conn)                             // what is lost is counted by the sender
			}()
		}
	}()
	return nil
}

// call makes some flows to the api pod, in the thread's network namespace, every fourth of TCP. They take a second: the agent learns of a
// new device in the meantime.
func (c *cluster) call(ctx context.Context, flows int) error {
	for i := range flows {
		if !pause(ctx, time.Second/time.Duration(flows)) {
			return nil
		}
		exchange := c.exchange
		if i%4 == 0 {
			exchange = c.connect
		}
		if err := exchange(); err != nil {
			return err
		}
	}
	return nil
}

// manyFlows makes so many flows a second from the web pod.
func (c *cluster) manyFlows(ctx context.Context, perSecond float64) error {
	pod, _ := c.Pod(lab.Web)
	return pod.Do(func() error {
		tick := time.NewTicker(max(time.Duration(float64(time.Second)/perSecond), 100*time.Microsecond))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
			if err := c.exchange(); err != nil {
				return err
			}
		}
	})
}

// exchange sends a datagram from a port of its own and waits a moment for the answer.
func (c *cluster) exchange() error {
	pod, _ := c.Pod(lab.API)
	i := int(c.counted.flows.Add(1))
	local := netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(firstPort+i%portsSpent))
	remote := netip.AddrPortFrom(pod.Address, uint16(firstEcho+i/portsSpent%echoes))
	conn, err := net.DialUDP("udp4", net.UDPAddrFromAddrPort(local), net.UDPAddrFromAddrPort(remote))
	if errors.Is(err, unix.EADDRINUSE) {
		return nil
	} else if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(200 * time.Millisecond)); err != nil {
		return err
	}
	var answer [64]byte
	if _, err = conn.Write([]byte("a datagram of a soak test, long enough to be told from others")); err == nil {
		_, err = conn.Read(answer[:])
	}
	return c.unlessUnanswered(err)
}

// connect opens a connection, sends by it, waits for the answer and closes it.
func (c *cluster) connect() error {
	pod, _ := c.Pod(lab.API)
	c.counted.connections.Add(1)
	dialer := net.Dialer{Timeout: 2 * time.Second}
	conn, err := dialer.Dial("tcp4", netip.AddrPortFrom(pod.Address, firstEcho).String())
	if err != nil {
		return c.unlessUnanswered(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return err
	}
	var answer [64]byte
	if _, err = conn.Write(answer[:]); err == nil {
		_, err = io.ReadFull(conn, answer[:])
	}
	return c.unlessUnanswered(err)
}

// unlessUnanswered counts the errors of those whose queue was replaced, whose device is being renamed, or whose server ends with the run, and
// returns the others.
func (c *cluster) unlessUnanswered(err error) error {
	if err == nil {
		return nil
	}
	network, is := errors.AsType[net.Error](err)
	unanswered := is && network.Timeout()
	for _, known := range []error{
		unix.ECONNREFUSED, unix.ECONNRESET, unix.ENOBUFS, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ENETDOWN, io.EOF, io.ErrUnexpectedEOF,
	} {
		unanswered = unanswered || errors.Is(err, known)
	}
	if !unanswered {
		return err
	}
	c.counted.unanswered.Add(1)
	return nil
}
