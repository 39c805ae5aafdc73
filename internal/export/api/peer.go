//go:build linux

package api

import (
	"fmt"
	"log/slog"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// refused is the answer to whom the socket is not for. It is written before the request is read.
const refused = "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: 54\r\n\r\n" +
	`{"error":"only root on this node may use this socket"}`

// refusalsEvery is how often it is logged that someone was refused.
const refusalsEvery = time.Minute

// ownerListener takes connections of root, and of the user that the agent runs as, alone. The socket's mode says the same; but a mode
// can be changed, and a directory be shared.
type ownerListener struct {
	net.Listener
	log     *slog.Logger
	logged  time.Time // of the accepting goroutine alone
	refused int       // since the start
}

// Accept returns the next connection of those that may ask.
func (l *ownerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := peerOf(conn)
		if err == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid()) {
			return conn, nil
		}
		if l.refused++; time.Since(l.logged) >= refusalsEvery {
			l.logged = time.Now()
			l.log.Warn("refused to answer on the socket: the other end is not root's", "uid", peer.Uid, "pid", peer.Pid, "refused", l.refused, "err", err)
		}
		_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond)) // a new socket has room for the answer
		_, _ = conn.Write([]byte(refused))
		conn.Close()
	}
}

// peerOf is who connected, as the kernel noted it then.
func peerOf(conn net.Conn) (peer unix.Ucred, err error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return peer, fmt.Errorf("no unix socket, but %T", conn)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return peer, err
	}
	var got *unix.Ucred
	var askErr error
	if err := raw.Control(func(fd uintptr) { got, askErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return peer, err
	}
	if askErr != nil {
		return peer, fmt.Errorf("ask for the peer's credentials: %w", askErr)
	}
	return *got, nil
}
