package main

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

func (f *flow) datagrams(ctx context.Context) {
	block := make([]byte, max(16, f.Size))
	answer := make([]byte, 64<<10)
	for f.pause(ctx) {
		conn, err := f.dial(ctx, "udp")
		if err != nil {
			f.count(ctx, err)
			continue
		}
		for range max(1, f.Burst) {
			if _, err := conn.Write(block); err != nil && errors.Is(err, net.ErrClosed) {
				break
			}
		}
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		for range max(1, f.Burst) {
			_, err := conn.Read(answer)
			f.count(ctx, err)
			if err != nil {
				break
			}
		}
		f.close(conn)
	}
}

func (f *flow) asks(ctx context.Context) {
	conn, err := f.dial(ctx, "udp")
	if err != nil {
		f.count(ctx, err)
		return
	}
	defer f.close(conn)
	block, answer := make([]byte, max(16, f.Size)), make([]byte, 64<<10)
	for f.pause(ctx) {
		_, err := conn.Write(block)
		if err == nil {
			_ = conn.SetReadDeadline(time.Now().Add(time.Second))
			_, err = conn.Read(answer)
		}
		f.count(ctx, err)
	}
}

func (f *flow) twins(ctx context.Context) {
	block, answer := make([]byte, max(16, f.Size)), make([]byte, 64<<10)
	for f.pause(ctx) {
		conn, err := f.dial(ctx, "udp")
		if err != nil {
			f.count(ctx, err)
			continue
		}
		var ready atomic.Int32
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				for ready.Add(1); ready.Load() < 2; { // both CPUs are to be in the kernel at once
				}
				_, _ = conn.Write(block) // what was not sent is not answered
			})
		}
		both.Wait()
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		for range 2 {
			_, err := conn.Read(answer)
			f.count(ctx, err)
			if err != nil {
				break
			}
		}
		f.close(conn)
	}
}

func (f *flow) reports(ctx context.Context) {
	conn, err := f.dial(ctx, "udp")
	if err != nil {
		f.count(ctx, err)
		return
	}
	defer f.close(conn)
	for f.pause(ctx) {
		_, err := conn.Write(make([]byte, max(16, f.Size)))
		f.count(ctx, err)
	}
}
