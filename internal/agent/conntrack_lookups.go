package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/record"
	"tracer/internal/rtnl"
)

const (
	// maxConntrackLookups bounds the entries that are asked for at a time.
	maxConntrackLookups = 8
	// conntrackTimeout is how long an answer may take.
	conntrackTimeout = 5 * time.Second
)

// conntrackLookups ask the connection table about datagrams that nobody answers and that NAT gave another destination: an entry
// translates them for as long as they are sent, whatever the rules say by now.
type conntrackLookups struct {
	mu     sync.Mutex
	socket *nl.SocketHandle
}

// open opens a socket in the calling thread's network namespace. A kernel without ctnetlink refuses requests, not the socket.
func (l *conntrackLookups) open() error {
	socket, err := nl.Subscribe(unix.NETLINK_NETFILTER)
	if err != nil {
		return fmt.Errorf("open nfnetlink socket: %w", err)
	}
	answerWithin := unix.NsecToTimeval(conntrackTimeout.Nanoseconds())
	if err := socket.SetReceiveTimeout(&answerWithin); err != nil {
		socket.Close()
		return fmt.Errorf("set timeout of nfnetlink socket: %w", err)
	}
	l.socket = &nl.SocketHandle{Socket: socket}
	return nil
}

func (l *conntrackLookups) close() {
	if l.socket != nil {
		l.socket.Close()
	}
}

// results are the entries of what is not answered. What the table does not know, or does not tell, is left out.
func (l *conntrackLookups) results(silent []aggregate.Unanswered) (found []record.ConntrackEntry) {
	asked := 0
	for i := range silent {
		u := &silent[i]
		if u.Protocol != record.ProtocolUDP || !u.Client || !u.Redirected() || u.Translated || asked == maxConntrackLookups {
			continue
		}
		asked++
		e, err := l.ask(record.ConntrackFlow{
			Protocol: u.Protocol, Source: netip.AddrPortFrom(u.Source.Addr(), u.SourcePort), Destination: u.Asked,
		})
		if err == nil {
			found = append(found, e)
		}
	}
	return found
}

// The numbers of ctnetlink (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctnetlinkGet = unix.NFNL_SUBSYS_CTNETLINK<<8 | nl.IPCTNL_MSG_CT_GET
	ctStatus     = 3 // CTA_STATUS
	ctReply      = 2 // CTA_TUPLE_REPLY
	ctTimeout    = 7 // CTA_TIMEOUT
	ctAssured    = 1 << 2
)

// ask asks for the entry of a flow.
func (l *conntrackLookups) ask(flow record.ConntrackFlow) (record.ConntrackEntry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	family, source, destination := uint8(unix.AF_INET), nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
	if flow.Source.Addr().Is6() {
		family, source, destination = unix.AF_INET6, nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	tuple := nl.NewRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_ORIG, nil)
	ip := tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	ip.AddRtAttr(source, flow.Source.Addr().AsSlice())
	ip.AddRtAttr(destination, flow.Destination.Addr().AsSlice())
	proto := tuple.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{byte(flow.Protocol)})
	proto.AddRtAttr(nl.CTA_PROTO_SRC_PORT, binary.BigEndian.AppendUint16(nil, flow.Source.Port()))
	proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, flow.Destination.Port()))

	request := nl.NewNetlinkRequest(ctnetlinkGet, unix.NLM_F_ACK)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: l.socket}
	request.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	request.AddData(tuple)
	answers, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return record.ConntrackEntry{}, fmt.Errorf("ask the connection table: %w", err)
	}
	if len(answers) == 0 {
		return record.ConntrackEntry{}, errors.New("ask the connection table: no answer")
	}
	return parseConntrackEntry(flow, answers[0])
}

// parseConntrackEntry takes an answer apart, behind its nfgenmsg.
func parseConntrackEntry(flow record.ConntrackFlow, answer []byte) (record.ConntrackEntry, error) {
	e := record.ConntrackEntry{ConntrackFlow: flow}
	if len(answer) < nl.SizeofNfgenmsg {
		return e, fmt.Errorf("read an entry of the connection table: %d bytes", len(answer))
	}
	reply := make(map[int][]byte)
	for kind, value := range rtnl.Attributes(answer[nl.SizeofNfgenmsg:]) {
		switch {
		case kind == ctStatus && len(value) == 4:
			e.Assured = binary.BigEndian.Uint32(value)&ctAssured != 0
		case kind == ctTimeout && len(value) == 4:
			e.Timeout = time.Duration(binary.BigEndian.Uint32(value)) * time.Second
		case kind == ctReply:
			for part, value := range rtnl.Attributes(value) {
				for kind, value := range rtnl.Attributes(value) {
					reply[part<<8|kind] = value
				}
			}
		}
	}
	source := reply[nl.CTA_TUPLE_IP<<8|nl.CTA_IP_V4_SRC]
	if source == nil {
		source = reply[nl.CTA_TUPLE_IP<<8|nl.CTA_IP_V6_SRC]
	}
	port := reply[nl.CTA_TUPLE_PROTO<<8|nl.CTA_PROTO_SRC_PORT]
	if address, ok := netip.AddrFromSlice(source); ok && len(port) == 2 {
		e.Translated = netip.AddrPortFrom(address, binary.BigEndian.Uint16(port))
	}
	return e, nil
}
