package main

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/lab"
)

// serve starts the servers that the traffic needs, their sockets in the pods' namespaces.
func (f *flow) serve(ctx context.Context) error {
	for _, pod := range f.servers {
		switch f.Kind {
		case "knock", "nfqueue":
			continue
		case "datagrams", "asks", "twins", "reports":
			if err := f.serveUDP(pod); err != nil {
				return err
			}
		default:
			if err := f.serveTCP(ctx, pod); err != nil {
				return err
			}
		}
	}
	return nil
}

func (f *flow) serveUDP(pod lab.Pod) error {
	var conn *net.UDPConn
	err := pod.Do(func() (err error) {
		conn, err = net.ListenUDP(f.network("udp"), &net.UDPAddr{Port: f.port})
		return err
	})
	if err != nil {
		return err
	}
	f.keepOpen(conn)
	if f.Kind == "reports" { // as much as comes in a second, as programs that measure ask for: a reader that has no CPU for a while loses nothing
		raw, err := conn.SyscallConn()
		if err != nil {
			return err
		}
		var set error
		err = raw.Control(func(fd uintptr) { set = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) })
		if err := errors.Join(err, set); err != nil {
			return err
		}
	}
	f.group.Go(func() {
		block := make([]byte, 64<<10)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(block)
			if err != nil {
				return
			}
			if f.Kind == "reports" {
				continue
			}
			answer := slices.Clone(block[:n])
			f.afterWork(func() { _, _ = conn.WriteToUDPAddrPort(answer, from) }) // one that cannot be answered stays without
		}
	})
	return nil
}

func (f *flow) serveTCP(ctx context.Context, pod lab.Pod) error {
	var listener *net.TCPListener
	err := pod.Do(func() (err error) {
		listener, err = net.ListenTCP(f.network("tcp"), &net.TCPAddr{Port: f.port})
		return err
	})
	if err != nil {
		return err
	}
	f.keepOpen(listener)
	if f.Kind == "deaf" {
		return nil
	}
	f.group.Go(func() {
		for {
			conn, err := listener.AcceptTCP()
			if err != nil {
				return
			}
			f.keepOpen(conn)
			f.group.Go(func() {
				defer f.close(conn)
				switch own := ownServers[f.Kind]; {
				case own != nil:
					own(f, conn)
				case f.Kind == "stream":
					f.receive(ctx, conn)
				default:
					f.answer(conn)
				}
			})
		}
	})
	return nil
}

// receive takes a stream's bytes, no faster than wished.
func (f *flow) receive(ctx context.Context, conn *net.TCPConn) {
	block := make([]byte, 256<<10)
	if f.Buffer > 0 {
		_ = conn.SetReadBuffer(f.Buffer)
	}
	if f.Read > 0 {
		const rounds = 10 // a second
		_ = conn.SetReadBuffer(16 << 10)
		block = block[:max(1, f.Read/rounds)]
		for sleep(ctx, time.Second/rounds) == nil {
			n, err := conn.Read(block)
			f.done.Add(int64(n))
			if err != nil {
				return
			}
		}
		return
	}
	for {
		n, err := conn.Read(block)
		f.done.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// answer sends back what comes, of the sizes that are agreed upon.
func (f *flow) answer(conn net.Conn) {
	block := make([]byte, max(16, f.Size))
	if f.Greeting > 0 {
		if _, err := io.CopyN(conn, conn, int64(max(16, f.Greeting))); err != nil {
			return
		}
	}
	for {
		if _, err := io.ReadFull(conn, block); err != nil {
			return
		}
		time.Sleep(f.work())
		if _, err := conn.Write(block); err != nil {
			return
		}
	}
}

// work is for how long the server works at the next question.
func (f *flow) work() time.Duration {
	return f.Work + time.Duration((2*rand.Float64()-1)*float64(f.Jitter))
}

// afterWork answers once the server has worked, while others may ask.
func (f *flow) afterWork(answer func()) {
	if f.Work == 0 {
		answer()
		return
	}
	time.AfterFunc(f.Work, answer)
}
