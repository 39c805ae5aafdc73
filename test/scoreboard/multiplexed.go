package main

import (
	"context"
	"io"
	"net"
	"slices"
	"sync"
	"time"
)

// callers are how many ask over one connection at a time.
const callers = 4

// multiplexed has several ask over one connection, as HTTP/2 does: each waits for its own answer, and for none of the others'.
func (f *flow) multiplexed(ctx context.Context) {
	for f.pause(ctx) {
		conn, err := f.dial(ctx, "tcp")
		if err != nil {
			f.count(ctx, err)
			continue
		}
		ended := make(chan struct{})
		var asking sync.WaitGroup
		var answered [callers]chan struct{}
		for i := range answered {
			answered[i] = make(chan struct{}, 1)
			asking.Go(func() {
				question := make([]byte, max(16, f.Size))
				question[0] = byte(i)
				// No two at the same pace, so that they come in another order again and again.
				for sleep(ctx, f.Every+f.Every*time.Duration(i)/callers) == nil {
					if _, err := conn.Write(question); err != nil {
						return
					}
					select {
					case <-answered[i]:
					case <-ended:
						return
					}
				}
			})
		}
		block := make([]byte, max(16, f.Size))
		for err == nil {
			if _, err = io.ReadFull(conn, block); err == nil {
				answered[block[0]] <- struct{}{}
			}
			f.count(ctx, err)
		}
		close(ended)
		f.close(conn)
		asking.Wait()
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
