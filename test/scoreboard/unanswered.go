package main

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// Requests without an answer.

// impatient asks over a connection of its own each time, and closes it when the answer has not come in time. What it gives up has failed.
func (f *flow) impatient(ctx context.Context) {
	question := make([]byte, max(16, f.Size))
	for f.pause(ctx) {
		conn, err := f.dial(ctx, "tcp")
		if err != nil {
			f.count(ctx, err)
			continue
		}
		if _, err = conn.Write(question); err == nil {
			if err = conn.SetReadDeadline(time.Now().Add(cmp.Or(f.Patience, time.Second))); err == nil {
				_, err = io.ReadFull(conn, question)
			}
		}
		f.close(conn)
		f.count(ctx, err)
	}
}

// answerSome answers on every second connection, and on the others takes what is asked and never does: a worker of two is stuck.
func (f *flow) answerSome(conn *net.TCPConn) {
	if f.taken.Add(1)%2 == 0 {
		f.answerNone(conn)
		return
	}
	f.answer(conn)
}

// answerNone takes what is asked, and is stuck until the traffic ends.
func (f *flow) answerNone(conn *net.TCPConn) {
	if _, err := io.ReadFull(conn, make([]byte, max(16, f.Size))); err == nil {
		<-f.over
	}
}

// cutSome answers on every second connection, and closes the others instead.
func (f *flow) cutSome(conn *net.TCPConn) {
	if f.taken.Add(1)%2 == 0 {
		_, _ = io.ReadFull(conn, make([]byte, max(16, f.Size))) // whatever came
		return
	}
	f.answer(conn)
}

// longPoll holds what is asked until there is news, and answers then, or, on some connections, at once.
func (f *flow) longPoll(conn *net.TCPConn) {
	if f.taken.Add(1)%4 == 0 {
		question := make([]byte, max(16, f.Size))
		if _, err := io.ReadFull(conn, question); err == nil {
			_, _ = conn.Write(question) // the client may have gone
		}
		return
	}
	f.answer(conn)
}

// answerUnlessClosed answers once it has worked, or, on some connections, at once; and closes when the client has, whatever it was asked.
func (f *flow) answerUnlessClosed(conn *net.TCPConn) {
	question := make([]byte, max(16, f.Size))
	if _, err := io.ReadFull(conn, question); err != nil {
		return
	}
	if f.taken.Add(1)%4 > 0 {
		_ = conn.SetReadDeadline(time.Now().Add(f.Work))
		if _, err := conn.Read(make([]byte, 1)); errors.Is(err, io.EOF) {
			return
		}
	}
	_, _ = conn.Write(question) // the client may have gone
}
