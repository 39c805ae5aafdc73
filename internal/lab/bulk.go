package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"
)

// Bulk sends over TCP from one pod to another, as fast as possible, until ctx ends. The other one listens at the given
// address; port 0 is any.
func Bulk(ctx context.Context, from, to Pod, at netip.AddrPort) error {
	var listener net.Listener
	err := to.Do(func() (err error) { listener, err = net.Listen("tcp", at.String()); return err })
	if err != nil {
		return fmt.Errorf("receive in bulk: %w", err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = io.Copy(io.Discard, conn)
			conn.Close()
		}
	}()
	var conn net.Conn
	err = from.Do(func() (err error) {
		conn, err = net.DialTimeout("tcp", listener.Addr().String(), 5*time.Second)
		return err
	})
	if err != nil {
		return fmt.Errorf("send in bulk: %w", err)
	}
	// What has not been sent by the end is discarded.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return fmt.Errorf("send in bulk: %w", err)
	}
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	for buffer := make([]byte, 64<<10); ; {
		if _, err := conn.Write(buffer); errors.Is(err, net.ErrClosed) {
			return nil
		} else if err != nil {
			return fmt.Errorf("send in bulk: %w", err)
		}
	}
}
