package load

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"sync"
	"time"
)

// Names of the logs in a lab's directory. The "sent" logs have every packet that was sent, the others those received.
const (
	RequestsSent  = "requests-sent.jsonl"
	Requests      = "requests.jsonl"
	ResponsesSent = "responses-sent.jsonl"
	Responses     = "responses.jsonl"
	Calls         = "tcp-calls.jsonl" // whole calls over TCP: sent, and answered at Received
)

// flushInterval bounds how old a log's newest line may be.
const flushInterval = 100 * time.Millisecond

// Server answers calls over UDP and TCP until its context ends. The sockets stay in the network namespace that
// they were opened in; Serve may run in any.
type Server struct {
	UDP   *net.UDPConn
	TCP   net.Listener
	Dir   string // where logs go
	Clock Clock
	Work  time.Duration // for each call, of which one over UDP does not wait for another's
}

// Serve answers and logs, closes the sockets when ctx ends, and then returns nil.
func (s *Server) Serve(ctx context.Context) error {
	requests, err := createLog(filepath.Join(s.Dir, Requests), logBytes)
	if err != nil {
		return err
	}
	defer requests.Close()
	answers, err := createLog(filepath.Join(s.Dir, ResponsesSent), logBytes)
	if err != nil {
		return err
	}
	defer answers.Close()
	return runUntil(ctx, func() { s.UDP.Close(); s.TCP.Close() }, []*logFile{requests, answers},
		func(ctx context.Context) error { return s.serveUDP(ctx, requests, answers) },
		s.serveTCP)
}

// work is a call over UDP that the server works on.
type work struct {
	packet
	size int
	peer netip.AddrPort
	due  time.Duration
}

// maxCalls is on how many calls over UDP the server works at once.
const maxCalls = 1024

func (s *Server) serveUDP(ctx context.Context, requests, answers *logFile) error {
	receiver, err := NewReceiver(s.UDP, s.Clock)
	if err != nil {
		return err
	}
	// All take equally long, and so they are answered in the order in which they came. Of more than that some are lost, as at any server.
	calls := make(chan work, maxCalls)
	var worker sync.WaitGroup
	worker.Go(func() { s.work(ctx, calls, answers) })
	defer worker.Wait()
	defer close(calls)
	b := make([]byte, 64<<10)
	for {
		n, peer, arrived, received, err := receiver.Read(b)
		if err != nil {
			return fmt.Errorf("serve udp: %w", err)
		}
		p, err := parsePacket(b[:n])
		if err != nil || p.kind != request {
			continue // not a packet of the load
		}
		requests.Append(Entry{Seq: p.seq, Sent: p.sent, Arrived: arrived, Received: received, Delay: received - p.sent})
		call := work{packet: p, size: n, peer: peer, due: s.Clock() + s.Work}
		if s.Work == 0 {
			s.answer(&call, b, answers)
			continue
		}
		select {
		case calls <- call:
		default:
		}
	}
}

// work answers calls, each when it is due, until ctx ends.
func (s *Server) work(ctx context.Context, calls <-chan work, answers *logFile) {
	b := make([]byte, 64<<10)
	for call := range calls {
		select {
		case <-ctx.Done():
			return
		case <-time.After(call.due - s.Clock()):
		}
		s.answer(&call, b, answers)
	}
}

// answer sends as many bytes as have come. What can not be sent, as where a route is gone for now, stays unanswered.
func (s *Server) answer(call *work, b []byte, answers *logFile) {
	p := packet{kind: response, seq: call.seq, call: call.sent, sent: s.Clock()}
	p.put(b)
	if _, err := s.UDP.WriteToUDPAddrPort(b[:call.size], call.peer); err == nil {
		answers.Append(Entry{Seq: p.seq, Sent: p.sent})
	}
}

// runUntil runs parts until ctx ends or one fails, flushes logs meanwhile, and calls stop to end the rest. The
// end of ctx is no error.
func runUntil(parent context.Context, stop func(), logs []*logFile, parts ...func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(parent)
	defer cancel(nil)
	end := context.AfterFunc(ctx, stop)
	defer end()
	var group sync.WaitGroup
	for _, part := range append(parts, func(ctx context.Context) error { return flush(ctx, logs) }) {
		group.Go(func() {
			cancel(part(ctx))
		})
	}
	group.Wait()
	if err := context.Cause(ctx); parent.Err() == nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

func flush(ctx context.Context, logs []*logFile) error {
	tick := time.NewTicker(flushInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		for _, l := range logs {
			if err := l.Flush(); err != nil {
				return fmt.Errorf("write log: %w", err)
			}
		}
	}
}
