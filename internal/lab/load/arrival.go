package load

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Receiver reads datagrams with the time at which the kernel received them. The application may get to read them
// later, when it has a CPU: that is no delay of the network's.
type Receiver struct {
	conn  *net.UDPConn
	clock Clock
	oob   [64]byte
}

// NewReceiver returns a receiver on a socket, for which it turns on times of arrival (SO_TIMESTAMPNS).
func NewReceiver(conn *net.UDPConn, clock Clock) (*Receiver, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, err
	}
	var optErr error
	err = raw.Control(func(fd uintptr) {
		optErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_TIMESTAMPNS_NEW, 1)
	})
	if err == nil {
		err = optErr
	}
	if err != nil {
		return nil, fmt.Errorf("turn on times of arrival: %w", err)
	}
	return &Receiver{conn: conn, clock: clock}, nil
}

// Read returns a datagram, when the kernel received it, and when it was read.
func (r *Receiver) Read(b []byte) (n int, peer netip.AddrPort, arrived, received time.Duration, err error) {
	n, oobn, _, peer, err := r.conn.ReadMsgUDPAddrPort(b, r.oob[:])
	received = r.clock()
	if err != nil {
		return n, peer, 0, received, err
	}
	stamp, ok := realtimeOf(r.oob[:oobn])
	if !ok {
		return n, peer, received, received, nil
	}
	return n, peer, arrival(stamp+r.sinceEpoch(), received), received, nil
}

// maxWait is how long a datagram may wait to be read.
const maxWait = time.Minute

// arrival checks the time of arrival, converted to the receiver's clock. Where CLOCK_REALTIME was set in the meantime it is
// wrong, and the time of reading is taken instead.
func arrival(stamped, received time.Duration) time.Duration {
	if stamped > received || received-stamped > maxWait {
		return received
	}
	return stamped
}

// realtimeOf takes the time of arrival out of a datagram's control messages.
func realtimeOf(oob []byte) (time.Duration, bool) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return 0, false
	}
	for _, m := range messages {
		if m.Header.Level == unix.SOL_SOCKET && m.Header.Type == unix.SO_TIMESTAMPNS_NEW && len(m.Data) >= 16 {
			seconds, nanoseconds := binary.NativeEndian.Uint64(m.Data), binary.NativeEndian.Uint64(m.Data[8:])
			return time.Duration(seconds)*time.Second + time.Duration(nanoseconds), true
		}
	}
	return 0, false
}

// sinceEpoch is how far the receiver's clock is ahead of CLOCK_REALTIME. The two cannot be read at once: of several tries
// the shortest counts.
func (r *Receiver) sinceEpoch() time.Duration {
	const enough = 2 * time.Microsecond
	var ahead time.Duration
	least := time.Duration(-1)
	for range 5 {
		before := r.clock()
		now := time.Duration(time.Now().UnixNano())
		took := r.clock() - before
		if least < 0 || took < least {
			least, ahead = took, before+took/2-now
		}
		if least <= enough {
			break
		}
	}
	return ahead
}
