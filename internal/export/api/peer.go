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

// What is answered to whom a socket is not for.
const (
	refusedToAll     = "only root on this node may use this socket"
	refusedToViewers = "only root and the viewers' group may use this socket"
)

// refused is a whole answer. It is written before the request is read.
func refused(why string) []byte {
	body := fmt.Sprintf(`{"error":%q}`, why)
	return fmt.Appendf(nil, "HTTP/1.1 403 Forbidden\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

// refusalsEvery is how often it is logged that someone was refused.
const refusalsEvery = time.Minute

// peerListener takes connections of root, of the user that the agent runs as, and of a group alone. The socket's mode says the same; but a
// mode can be changed, and a directory be shared.
type peerListener struct {
	net.Listener
	refusal string
	group   int // −1 for none
	log     *slog.Logger
	logged  time.Time // of the accepting goroutine alone
	refused int       // since the start
}

// Accept returns the next connection of those that may ask.
func (l *peerListener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		peer, err := peerOf(conn)
		if err == nil && (peer.Uid == 0 || int(peer.Uid) == os.Geteuid() || l.group >= 0 && int(peer.Gid) == l.group) {
			return conn, nil
		}
		if l.refused++; time.Since(l.logged) >= refusalsEvery {
			l.logged = time.Now()
			l.log.Warn("refused to answer on the socket: the other end is not one that may ask", "uid", peer.Uid, "pid", peer.Pid, "refused", l.refused, "err", err)
		}
		_ = conn.SetDeadline(time.Now().Add(100 * time.Millisecond)) // a new socket has room for the answer
		_, _ = conn.Write(refused(l.refusal))
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
