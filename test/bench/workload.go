package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/lab"
)

// workload is traffic from the pod web to the pod api, whose rate is limited by nothing but what each packet costs.
type workload struct {
	name string
	unit string // of its rate
	kind int    // of its sockets
	size int    // of a message
	// echo: the sender waits for each message to come back, and both ends share a CPU: else the time that an idle CPU
	// takes to wake up would be most of what is measured. Otherwise they have one each.
	echo bool
	// per is what is counted of a byte that arrived.
	per float64
	// paced: what is measured is no rate, but the time from when a message was to be sent, one each interval, until it is back: the
	// longest of a hundred.
	paced    bool
	interval time.Duration
}

const (
	smallUDP = "UDP, 64 bytes"
	bulkTCP  = "TCP bulk"
	callsTCP = "TCP request/response"
	pacedTCP = "TCP requests at half of that rate"
)

func kinds() []workload {
	const bulk = 128 << 10
	return []workload{
		{name: smallUDP, unit: "packets/s", kind: unix.SOCK_DGRAM, size: 64, per: 1.0 / 64},
		{name: bulkTCP, unit: "Mbit/s", kind: unix.SOCK_STREAM, size: bulk, per: 8 / 1e6},
		{name: callsTCP, unit: "requests/s", kind: unix.SOCK_STREAM, size: 64, echo: true, per: 1.0 / 64},
		{name: pacedTCP, unit: "µs p99", kind: unix.SOCK_STREAM, size: 64, echo: true, per: 1.0 / 64, paced: true},
	}
}

// setPace has requests be sent at half of the rate that was reached first.
func setPace(loads []workload, measured *workload, rate float64) {
	for i := range loads {
		if loads[i].paced && loads[i].interval == 0 && measured.name == callsTCP {
			loads[i].interval = time.Duration(2 / rate * float64(time.Second))
		}
	}
}

const (
	benchPort = 5001
	// warmUp is sent before anything counts.
	warmUp = 100 * time.Millisecond
)

// run sends for a while and returns the rate at which messages arrived, in the workload's unit.
func (w *workload) run(ctx context.Context, o *overlay, watch time.Duration) (rate float64, err error) {
	sender, receiver, err := w.connect(o)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	defer unix.Close(sender)
	first, last, err := ends()
	if err != nil {
		return 0, err
	}
	if w.echo {
		last = first
	}
	var over atomic.Bool
	sent := make(chan error, 1)
	var times []float64
	warm := time.Now().Add(warmUp) // of both, as a busy machine starts one of them late
	go func() {
		var err error
		times, err = w.send(sender, first, warm, &over)
		sent <- err
	}()
	rate, err = w.receive(ctx, receiver, last, warm, watch)
	over.Store(true)
	// A sender that waits for room, or for an answer, learns by this that nobody is there.
	unix.Close(receiver)
	if err = errors.Join(err, <-sent); err != nil {
		return 0, fmt.Errorf("%s: %w", w.name, err)
	}
	if w.paced {
		if len(times) == 0 {
			return 0, fmt.Errorf("%s: no answer in time", w.name)
		}
		slices.Sort(times)
		rate = times[len(times)*99/100]
	}
	return rate, settle(ctx)
}

// send sends until it is over, or its peer is gone. If it is paced, it returns how long each message took in microseconds, but for
// those sent before it is warm.
func (w *workload) send(socket, cpu int, warm time.Time, over *atomic.Bool) (times []float64, err error) {
	if err := pin(cpu); err != nil {
		return nil, err
	}
	if w.paced {
		// Else a timer may be late by 50 µs, longer than the pace.
		if err := unix.Prctl(unix.PR_SET_TIMERSLACK, 1, 0, 0, 0); err != nil {
			return nil, os.NewSyscallError("prctl", err)
		}
	}
	message := make([]byte, w.size)
	for due := time.Now(); !over.Load(); due = due.Add(w.interval) {
		if w.paced {
			sleepUntil(due)
		}
		counts := w.paced && !time.Now().Before(warm)
		_, err := unix.Write(socket, message)
		if err == nil && w.echo {
			_, err = unix.Read(socket, message)
		}
		switch {
		case err == nil && counts:
			times = append(times, float64(time.Since(due))/1e3)
		case err == nil, errors.Is(err, unix.EINTR), errors.Is(err, unix.ENOBUFS):
		case over.Load(): // whatever a closed peer brings
		default:
			return nil, fmt.Errorf("send: %w", err)
		}
	}
	return times, nil
}

// sleepUntil sleeps as the kernel's timers can: Go's are later by what its scheduler takes.
func sleepUntil(due time.Time) {
	if left := time.Until(due); left > 0 {
		pause := unix.NsecToTimespec(left.Nanoseconds())
		_ = unix.Nanosleep(&pause, nil) // a signal ends it early, and then one message is early
	}
}

// receive counts what arrives in the time to watch, once it is warm; it takes longer where a busy machine lets too
// little through to tell a rate.
func (w *workload) receive(ctx context.Context, socket, cpu int, warm time.Time, watch time.Duration) (float64, error) {
	type outcome struct {
		rate float64
		err  error
	}
	done := make(chan outcome, 1)
	go func() {
		if err := pin(cpu); err != nil {
			done <- outcome{err: err}
			return
		}
		message := make([]byte, w.size)
		const enough = 100
		messages, bytes := 0, 0
		for {
			n, err := unix.Read(socket, message)
			switch {
			case errors.Is(err, unix.EINTR):
				continue
			case err != nil:
				done <- outcome{err: fmt.Errorf("receive: %w", err)}
				return
			case n == 0:
				done <- outcome{err: errors.New("receive: the sender went away")}
				return
			}
			if w.echo {
				if _, err := unix.Write(socket, message[:n]); err != nil {
					done <- outcome{err: fmt.Errorf("answer: %w", err)}
					return
				}
			}
			since := time.Since(warm)
			if since >= watch && messages >= enough || ctx.Err() != nil {
				done <- outcome{rate: float64(bytes) * w.per / since.Seconds(), err: context.Cause(ctx)}
				return
			}
			if since >= 0 {
				bytes += n
				messages++
			}
		}
	}()
	o := <-done
	return o.rate, o.err
}

// connect joins a socket in web with one in api.
func (w *workload) connect(o *overlay) (sender, receiver int, err error) {
	sender, receiver = -1, -1
	defer func() {
		if err != nil {
			for _, socket := range []int{sender, receiver} {
				if socket >= 0 {
					unix.Close(socket)
				}
			}
		}
	}()
	server := &unix.SockaddrInet4{Port: benchPort, Addr: o.api.Address.As4()}
	receiver, err = w.socket(o.api, func(s int) error {
		if err := unix.Bind(s, server); err != nil {
			return err
		}
		if w.kind == unix.SOCK_DGRAM {
			return nil
		}
		return unix.Listen(s, 1)
	})
	if err != nil {
		return sender, receiver, fmt.Errorf("listen: %w", err)
	}
	sender, err = w.socket(o.web, func(s int) error { return unix.Connect(s, server) })
	if err != nil || w.kind == unix.SOCK_DGRAM {
		return sender, receiver, err
	}
	accepted, _, err := unix.Accept4(receiver, unix.SOCK_CLOEXEC)
	if err != nil {
		return sender, receiver, fmt.Errorf("accept: %w", err)
	}
	unix.Close(receiver)
	return sender, accepted, setUp(accepted, w.kind)
}

func (w *workload) socket(pod lab.Pod, then func(int) error) (socket int, err error) {
	err = pod.Do(func() error {
		if socket, err = unix.Socket(unix.AF_INET, w.kind|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return errors.Join(setUp(socket, w.kind), os.NewSyscallError("connect", then(socket)))
	})
	return socket, err
}

// setUp gives a socket room for what comes while its reader is away, and patience with a peer that is silent.
func setUp(socket, kind int) error {
	const patience = 5 // seconds
	err := errors.Join(
		unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1),
		unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: patience}),
		unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: patience}))
	if kind == unix.SOCK_STREAM {
		return errors.Join(err, unix.SetsockoptInt(socket, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1))
	}
	return errors.Join(err, unix.SetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20))
}
