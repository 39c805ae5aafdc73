package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// views opens what people and programs ask the agent for, one after the other, and breaks most of it off: some answers are not
// read at all, some a little.
func (c *cluster) views(ctx context.Context, socket string, every time.Duration) error {
	requests := []string{
		"/v1/overview?interval=500ms", "/v1/trace", "/v1/status", "/v1/diagnosis", "/v1/overview?by=flow&interval=500ms", "/v1/snapshot",
		"/v1/trace?drops=true", "/v1/devices", "/v1/findings", "/v1/nothing", "/v1/overview?interval=never",
	}
	for i := 0; pause(ctx, every); i++ {
		if err := view(ctx, socket, requests[i%len(requests)], i%3, rand.N(3*every)); err != nil && ctx.Err() == nil {
			return err
		}
		c.counted.views.Add(1)
	}
	return nil
}

// The ways in which a view is read.
const (
	readNothing = iota
	readSome
	readUntilItEnds
)

func view(ctx context.Context, socket, request string, read int, length time.Duration) error {
	conn, err := new(net.Dialer).DialContext(ctx, "unix", socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: agent\r\n\r\n", request); err != nil {
		return err
	}
	if err := conn.SetDeadline(time.Now().Add(length)); err != nil {
		return err
	}
	switch read {
	case readNothing:
		pause(ctx, length)
	case readSome:
		_, _ = io.CopyN(io.Discard, conn, 4096) // it may have less to say until then
	case readUntilItEnds:
		_, _ = io.Copy(io.Discard, conn) // streams do not end before their time
	}
	return nil
}
