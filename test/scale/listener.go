package main

import (
	"net"
	"sync/atomic"
)

// countingListener counts what is sent on all of its connections, TLS included.
type countingListener struct {
	net.Listener
	sent atomic.Uint64 // bytes
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{c, &l.sent}, nil
}

type countingConn struct {
	net.Conn
	sent *atomic.Uint64
}

func (c countingConn) Write(data []byte) (int, error) {
	n, err := c.Conn.Write(data)
	c.sent.Add(uint64(n))
	return n, err
}
