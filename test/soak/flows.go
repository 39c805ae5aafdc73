package main

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
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
	return nil
}

// call makes some flows to the api pod, in the thread's network namespace. They take a second: the agent learns of a new device
// in the meantime.
func (c *cluster) call(ctx context.Context, flows int) error {
	for range flows {
		if !pause(ctx, time.Second/time.Duration(flows)) {
			return nil
		}
		if err := c.exchange(); err != nil {
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
	switch {
	case err == nil:
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, unix.ECONNREFUSED), errors.Is(err, unix.ENOBUFS),
		errors.Is(err, unix.EHOSTUNREACH), errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.ENETDOWN):
		c.counted.unanswered.Add(1) // its queue was replaced, or its device is being renamed
	default:
		return err
	}
	return nil
}
