package main

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// The ways in which connections of healthy applications live and end.

// idleTimeout is after how long the server of a pool closes a connection that says nothing.
const idleTimeout = 150 * time.Millisecond

// ownServers are the servers of kinds that have one of their own.
var ownServers = map[string]func(*flow, *net.TCPConn){
	"halfclosed": (*flow).answerLate,
	"pool":       (*flow).answerUntilIdle,

	"multiplexed": (*flow).answerEach,

	"stuck":    (*flow).answerSome,
	"mute":     (*flow).answerNone,
	"cut":      (*flow).cutSome,
	"longpoll": (*flow).longPoll,
	"hedged":   (*flow).answerUnlessClosed,
}

// halfClosed sends a question, says that there is no more to come, and reads the answer to its end, as rsh, git and HTTP/1.0 do.
func (f *flow) halfClosed(ctx context.Context) {
	block := make([]byte, max(16, f.Size))
	for f.pause(ctx) {
		conn, err := f.dial(ctx, "tcp")
		if err != nil {
			f.count(ctx, err)
			continue
		}
		_, err = conn.Write(block)
		if err == nil {
			err = conn.(*net.TCPConn).CloseWrite()
		}
		if err == nil {
			_, err = io.ReadFull(conn, block)
		}
		f.close(conn)
		f.count(ctx, err)
	}
}

// answerLate reads to the end, thinks, and answers over what is half a connection by then.
func (f *flow) answerLate(conn *net.TCPConn) {
	question, err := io.ReadAll(conn)
	if err != nil {
		return
	}
	time.Sleep(idleTimeout)
	_, _ = conn.Write(question)
}

// pool uses a connection, leaves it idle, and then either drops it by RST or asks over one that the server has closed
// meanwhile, which is answered by RST: as pools of connections do to databases and behind proxies.
func (f *flow) pool(ctx context.Context) {
	for turn := 0; f.pause(ctx); turn++ {
		conn, err := f.dial(ctx, "tcp")
		if err != nil {
			f.count(ctx, err)
			continue
		}
		for i := 0; i < 3 && err == nil; i++ {
			err = f.exchange(conn, f.Size)
		}
		f.count(ctx, err)
		if turn%2 == 0 {
			_ = sleep(ctx, idleTimeout/3)
			_ = conn.(*net.TCPConn).SetLinger(0)
		} else {
			_ = sleep(ctx, 2*idleTimeout)
			_ = f.exchange(conn, f.Size) // refused by RST, as it should be
		}
		f.close(conn)
	}
}

// answerUntilIdle answers until nothing comes for a while, and closes.
func (f *flow) answerUntilIdle(conn *net.TCPConn) {
	block := make([]byte, max(16, f.Size))
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idleTimeout))
		if _, err := io.ReadFull(conn, block); err != nil {
			return
		}
		if _, err := conn.Write(block); err != nil {
			return
		}
	}
}

// keepAlive holds a connection open over which nothing but TCP's own keep-alives go, one a second.
func (f *flow) keepAlive(ctx context.Context) {
	for f.pause(ctx) {
		conn, err := f.dial(ctx, "tcp")
		if err != nil {
			f.count(ctx, err)
			continue
		}
		err = conn.(*net.TCPConn).SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: time.Second, Interval: time.Second, Count: 9})
		f.count(ctx, err)
		if err == nil {
			_, err = conn.Read(make([]byte, 1)) // nothing comes, until the end
			if ctx.Err() == nil && !errors.Is(err, net.ErrClosed) {
				f.count(ctx, err)
			}
		}
		f.close(conn)
	}
}
