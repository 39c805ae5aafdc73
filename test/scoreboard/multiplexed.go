package main

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// multiplexed asks over one connection at its own pace, whatever is not answered yet, as HTTP/2 does.
func (f *flow) multiplexed(ctx context.Context) {
	for f.pause(ctx) {
		conn, err := f.dial(ctx, "tcp")
		if err != nil {
			f.count(ctx, err)
			continue
		}
		var answers sync.WaitGroup
		answers.Go(func() {
			block := make([]byte, max(16, f.Size))
			for {
				_, err := io.ReadFull(conn, block)
				f.count(ctx, err)
				if err != nil {
					return
				}
			}
		})
		question := make([]byte, max(16, f.Size))
		for err == nil && f.pause(ctx) {
			_, err = conn.Write(question)
		}
		f.close(conn)
		answers.Wait()
	}
}

// answerEach answers each question once the server has worked at it, and goes on to the next meanwhile.
func (f *flow) answerEach(conn *net.TCPConn) {
	var working sync.WaitGroup
	defer working.Wait()
	var writing sync.Mutex
	block := make([]byte, max(16, f.Size))
	for {
		if _, err := io.ReadFull(conn, block); err != nil {
			return
		}
		answer := slices.Clone(block)
		working.Go(func() {
			time.Sleep(f.Work)
			writing.Lock()
			defer writing.Unlock()
			_, _ = conn.Write(answer) // the client may have gone
		})
	}
}
