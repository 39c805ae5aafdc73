package loader

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// tcReader reads what filters and qdiscs devices have, in the namespace of the thread that it is used on first. It is used
// every few seconds on every device, so it keeps its socket.
type tcReader struct {
	socket   int // 0 until it is used
	sequence uint32
	buffer   []byte
	kinds    map[int]string // as qdisc gives them; nil until one is asked for
}

// filters lists those in one direction of a device, in the order in which the kernel runs them.
func (r *tcReader) filters(ifindex int, direction string) (filters []tcFilter, err error) {
	err = r.dump(unix.RTM_GETTFILTER, nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(ifindex), Parent: filterParent(direction)},
		func() { filters = nil },
		func(message []byte) error {
			f, err := parseFilter(message)
			filters = append(filters, f)
			return err
		})
	if err != nil {
		return nil, fmt.Errorf("list %s filters: %w", direction, err)
	}
	return filters, nil
}

// qdisc is the kind of the qdisc that holds a device's ingress filters: "clsact", "ingress", or "". All devices' are read at
// once, and kept until forget.
func (r *tcReader) qdisc(ifindex int) (string, error) {
	if r.kinds == nil {
		kinds := make(map[int]string)
		err := r.dump(unix.RTM_GETQDISC, nl.TcMsg{Family: nl.FAMILY_ALL}, func() { clear(kinds) }, func(message []byte) error {
			q, err := parseFilter(message) // a qdisc's message begins as a filter's does
			if q.kind == "clsact" || q.kind == "ingress" {
				kinds[q.ifindex] = q.kind
			}
			return err
		})
		if err != nil {
			return "", fmt.Errorf("list qdiscs: %w", err)
		}
		r.kinds = kinds
	}
	return r.kinds[ifindex], nil
}

// made says that a device has got a clsact qdisc.
func (r *tcReader) made(ifindex int) { r.kinds[ifindex] = "clsact" }

// forget has qdisc read anew.
func (r *tcReader) forget() { r.kinds = nil }

func (r *tcReader) Close() error {
	if r.socket == 0 {
		return nil
	}
	socket := r.socket
	r.socket = 0
	return unix.Close(socket)
}

// dump hands over each message of the answer without its netlink header. Where things changed meanwhile the answer may be
// incomplete: then it is asked for again, after begin.
func (r *tcReader) dump(request uint16, body nl.TcMsg, begin func(), each func([]byte) error) error {
	const tries = 5
	for range tries {
		begin()
		interrupted, err := r.ask(request, body, each)
		if err != nil || !interrupted {
			return err
		}
	}
	return errors.New("it changes all the time")
}

func (r *tcReader) ask(request uint16, body nl.TcMsg, each func([]byte) error) (interrupted bool, err error) {
	if r.socket == 0 {
		if err := r.open(); err != nil {
			return false, err
		}
	}
	defer func() {
		if err != nil {
			_ = r.Close() // the rest of the answer is of no use
		}
	}()
	r.sequence++
	message := binary.NativeEndian.AppendUint32(nil, uint32(unix.SizeofNlMsghdr+body.Len()))
	message = binary.NativeEndian.AppendUint16(message, request)
	message = binary.NativeEndian.AppendUint16(message, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	message = binary.NativeEndian.AppendUint32(message, r.sequence)
	message = append(binary.NativeEndian.AppendUint32(message, 0), body.Serialize()...)
	if err := unix.Sendto(r.socket, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return false, err
	}
	for {
		n, _, err := unix.Recvfrom(r.socket, r.buffer, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return false, err
		}
		for b := r.buffer[:n]; len(b) >= unix.SizeofNlMsghdr; {
			size := int(binary.NativeEndian.Uint32(b))
			if size < unix.SizeofNlMsghdr || size > len(b) {
				return false, errors.New("a message was cut short")
			}
			kind, flags := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint16(b[6:])
			interrupted = interrupted || flags&unix.NLM_F_DUMP_INTR != 0
			content := b[unix.SizeofNlMsghdr:size]
			switch kind {
			case unix.NLMSG_DONE, unix.NLMSG_ERROR:
				if code := int32(word(content, 0)); code < 0 {
					return false, unix.Errno(-code)
				}
				return interrupted, nil
			default:
				if err := each(content); err != nil {
					return false, err
				}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

func (r *tcReader) open() error {
	socket, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("open rtnetlink socket: %w", err)
	}
	answerWithin := unix.NsecToTimeval((10 * time.Second).Nanoseconds())
	if err := unix.SetsockoptTimeval(socket, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &answerWithin); err != nil {
		unix.Close(socket)
		return fmt.Errorf("set timeout of rtnetlink socket: %w", err)
	}
	r.socket = socket
	if r.buffer == nil {
		r.buffer = make([]byte, 64<<10) // more than a dump puts into one message
	}
	return nil
}
