package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// sender sends a traffic's packets from a process of its own: in the agent's, waking up for them and handing over threads
// took five times what an agent takes that sees none.
type sender struct {
	*other
	ask    *json.Encoder
	answer *json.Decoder
	sent   int // packets, since the start
}

// errand is what that process is told first; then come times to send for, and to each it answers how many packets it has
// sent. The socket is its fourth file.
type errand struct {
	Load nodeLoad
	Pods []int // the indices of their devices' far ends
}

const senderSocket = 3

// startSender gives the process the socket, and so the network namespace that it is in.
func startSender(e errand, socket *os.File) (*sender, error) {
	p, err := newOther(context.Background(), "sender")
	if err != nil {
		return nil, err
	}
	p.cmd.ExtraFiles = []*os.File{socket}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := p.start(); err != nil {
		return nil, err
	}
	s := &sender{other: p, ask: json.NewEncoder(p.input), answer: json.NewDecoder(p.output)}
	if err := s.ask.Encode(e); err != nil {
		return nil, fmt.Errorf("tell the sender what to send: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

// send has it send for a while, or until ctx ends: then it is gone.
func (s *sender) send(ctx context.Context, watch time.Duration) error {
	defer context.AfterFunc(ctx, func() { s.input.Close() })()
	err := s.ask.Encode(watch)
	if err == nil {
		err = s.answer.Decode(&s.sent)
	}
	if ctx.Err() != nil {
		return nil // asked to end
	}
	if err != nil {
		return fmt.Errorf("have packets sent: %w", err)
	}
	return nil
}

// beSender is that process.
func beSender(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	runtime.LockOSThread()
	input := json.NewDecoder(os.Stdin)
	var e errand
	if err := input.Decode(&e); err != nil {
		return fmt.Errorf("read what to send: %w", err)
	}
	orders := make(chan time.Duration)
	go func() {
		defer cancel()
		for {
			var watch time.Duration
			if err := input.Decode(&watch); err != nil {
				return // nobody wants more
			}
			orders <- watch
		}
	}()
	packet, sent := newFlowPacket(), 0
	for answers := json.NewEncoder(os.Stdout); ; {
		select {
		case <-ctx.Done():
			return nil
		case watch := <-orders:
			var err error
			if sent, err = e.send(ctx, packet, sent, watch); err != nil {
				return err
			}
			if err := answers.Encode(sent); err != nil {
				return err
			}
		}
	}
}

// send sends packets of all flows in turn for a while, or until ctx ends, and returns how many have been sent by then.
// After a tick that came late it sends what is due by then.
func (e *errand) send(ctx context.Context, packet []byte, sent int, watch time.Duration) (int, error) {
	const every = 10 * time.Millisecond
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	start, before, load := time.Now(), sent, e.Load
	for {
		select {
		case <-ctx.Done():
			return sent, nil
		case <-ticker.C:
		}
		since := time.Since(start)
		if since >= watch {
			return sent, nil
		}
		if load.Flows == 0 {
			continue
		}
		for due := before + int(since.Seconds()*float64(load.Rate)); sent < due; sent++ {
			flow := sent % load.Flows
			pod := flow % load.Pods
			setFlow(packet, flow/load.Pods, pod, uint64(sent))
			to := unix.SockaddrLinklayer{Ifindex: e.Pods[pod%len(e.Pods)]}
			if err := unix.Sendto(senderSocket, packet, 0, &to); err != nil {
				return sent, fmt.Errorf("send a packet: %w", err)
			}
		}
	}
}
