package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// The messages and attributes of nfnetlink_queue (linux/netfilter/nfnetlink_queue.h).
const (
	nfqnlMsgPacket, nfqnlMsgVerdict, nfqnlMsgConfig = 0, 1, 2
	nfqaPacketHdr, nfqaVerdictHdr                   = 1, 2
	nfqaCfgCmd, nfqaCfgParams, nfqaCfgQueueMaxlen   = 1, 2, 3
	nfqnlCfgCmdBind                                 = 1
	nfqnlCopyPacket                                 = 2
)

// nfqueue listens at the queue of number Port in the namespace From, and accepts each packet after Every. It holds at most Burst
// packets; 0 is the kernel's own limit.
func (f *flow) nfqueue(ctx context.Context) {
	if err := f.listenNFQueue(ctx); err != nil && ctx.Err() == nil {
		fmt.Fprintln(os.Stderr, "scoreboard: listen at NFQUEUE:", err)
		f.failed.Add(1)
	}
}

func (f *flow) listenNFQueue(ctx context.Context) error {
	fd := -1
	err := f.client.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
		return err
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return err
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 100_000}); err != nil {
		return err
	}
	configure := func(kind int, data []byte) error {
		return f.sendNFQueue(fd, nfqnlMsgConfig, unix.NLM_F_ACK, nl.NewRtAttr(kind, data))
	}
	if err := configure(nfqaCfgCmd, []byte{nfqnlCfgCmdBind, 0, 0, unix.AF_INET}); err != nil {
		return err
	}
	if err := configure(nfqaCfgParams, []byte{0, 0, 0xff, 0xff, nfqnlCopyPacket}); err != nil {
		return err
	}
	if f.Burst > 0 {
		if err := configure(nfqaCfgQueueMaxlen, binary.BigEndian.AppendUint32(nil, uint32(f.Burst))); err != nil {
			return err
		}
	}
	block := make([]byte, 1<<17)
	for ctx.Err() == nil {
		n, err := unix.Read(fd, block)
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) || errors.Is(err, unix.ENOBUFS) {
			continue
		} else if err != nil {
			return err
		}
		if err := f.acceptAll(ctx, fd, block[:n]); err != nil {
			return err
		}
	}
	return nil
}

// acceptAll accepts the packets of what was read, each when its time has come.
func (f *flow) acceptAll(ctx context.Context, fd int, block []byte) error {
	for len(block) >= unix.NLMSG_HDRLEN {
		size := int(binary.NativeEndian.Uint32(block))
		if size < unix.NLMSG_HDRLEN || size > len(block) {
			return errors.New("a broken message")
		}
		// With the padding of the last attribute, which ParseRouteAttr wants and the kernel does not count.
		kind, data := binary.NativeEndian.Uint16(block[4:]), block[unix.NLMSG_HDRLEN:min(cap(block), (size+3)&^3)]
		block = block[min(len(block), (size+3)&^3):]
		if kind == unix.NLMSG_ERROR {
			if errno := -int32(binary.NativeEndian.Uint32(data)); errno != 0 {
				return unix.Errno(errno)
			}
			continue
		}
		if kind != unix.NFNL_SUBSYS_QUEUE<<8|nfqnlMsgPacket {
			continue
		}
		attributes, err := nl.ParseRouteAttr(data[4:])
		if err != nil {
			return err
		}
		for _, a := range attributes {
			if a.Attr.Type != nfqaPacketHdr {
				continue
			}
			verdict := append(binary.BigEndian.AppendUint32(nil, 1), a.Value[:4]...) // NF_ACCEPT, and the packet's number
			f.group.Go(func() {
				if sleep(ctx, f.Every) == nil && f.sendNFQueue(fd, nfqnlMsgVerdict, 0, nl.NewRtAttr(nfqaVerdictHdr, verdict)) == nil {
					f.done.Add(1)
				}
			})
		}
	}
	return nil
}

// sendNFQueue sends a message about the queue.
func (f *flow) sendNFQueue(fd, kind, flags int, attribute *nl.RtAttr) error {
	payload := append([]byte{unix.AF_UNSPEC, 0}, binary.BigEndian.AppendUint16(nil, uint16(f.port))...)
	payload = append(payload, attribute.Serialize()...)
	message := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(payload)))
	message = binary.NativeEndian.AppendUint16(message, uint16(unix.NFNL_SUBSYS_QUEUE<<8|kind))
	message = binary.NativeEndian.AppendUint16(message, uint16(unix.NLM_F_REQUEST|flags))
	message = append(message, make([]byte, 8)...) // sequence number and port
	return unix.Sendto(fd, append(message, payload...), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
}
