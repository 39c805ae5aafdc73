package agent

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
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
	// maxTriesLookups bounds those of what the node itself has begun.
	maxTriesLookups = 16
	// conntrackTimeout is how long an answer may take.
	conntrackTimeout = 5 * time.Second
)

// conntrackLookups ask the connection table about datagrams that nobody answers and that NAT gave another destination: an entry
// translates them for as long as they are sent, whatever the rules say by now. And about what the node itself has begun, whose
// answers come by a single hook.
type conntrackLookups struct {
	mu     sync.Mutex
	socket *nl.SocketHandle
	// These are for tell alone.
	off     bool // the kernel has no table, or did not answer
	refused bool // for good
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
		e, err := l.ask(nl.CTA_TUPLE_ORIG, u.Protocol, netip.AddrPortFrom(u.Source.Addr(), u.SourcePort), u.Asked)
		if err == nil {
			found = append(found, e)
		}
	}
	return found
}

// tell says of what the node itself has begun whether the table has seen a reply, and to where its sockets' packets go that TCP sent
// again. What the table does not know is left out; where the kernel has no table, or does not tell, nothing is asked.
func (l *conntrackLookups) tell(counts *aggregate.Aggregator) {
	_, err := os.Stat("/proc/sys/net/netfilter/nf_conntrack_count")
	l.off = err != nil || l.refused
	for _, rec := range counts.TakeUntranslated() {
		if e, ok := l.known(nl.CTA_TUPLE_ORIG, rec.First.Protocol, rec.First.Source, rec.First.Destination); ok && e.Translated.IsValid() {
			rec.First.Source, rec.First.Destination = e.AnswersTo, e.Translated
		}
		counts.AddTranslated(&rec)
	}
	for _, t := range counts.OwnTries(maxTriesLookups) {
		if e, ok := l.known(nl.CTA_TUPLE_REPLY, t.Protocol, t.Destination, t.Source); ok {
			counts.SetReplied(t, e.Replied)
		}
	}
}

// known is what ask says, if the table has such an entry. A kernel that does not answer is asked no more: by the next call of tell it is
// again, unless it has no ctnetlink.
func (l *conntrackLookups) known(tuple int, protocol record.Protocol, from, to netip.AddrPort) (e record.ConntrackEntry, ok bool) {
	if l.off {
		return e, false
	}
	e, err := l.ask(tuple, protocol, from, to)
	l.off = err != nil && !errors.Is(err, unix.ENOENT)
	l.refused = l.refused || errors.Is(err, unix.EINVAL)
	return e, err == nil
}

// The numbers of ctnetlink (include/uapi/linux/netfilter/nfnetlink_conntrack.h).
const (
	ctnetlinkGet = unix.NFNL_SUBSYS_CTNETLINK<<8 | nl.IPCTNL_MSG_CT_GET
	ctStatus     = 3 // CTA_STATUS
	ctTimeout    = 7 // CTA_TIMEOUT
	ctSeenReply  = 1 << 1
	ctAssured    = 1 << 2
)

// ask asks for the entry of which one of the two tuples, CTA_TUPLE_ORIG or CTA_TUPLE_REPLY, has these ends.
func (l *conntrackLookups) ask(tuple int, protocol record.Protocol, from, to netip.AddrPort) (record.ConntrackEntry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	family, source, destination := uint8(unix.AF_INET), nl.CTA_IP_V4_SRC, nl.CTA_IP_V4_DST
	if from.Addr().Is6() {
		family, source, destination = unix.AF_INET6, nl.CTA_IP_V6_SRC, nl.CTA_IP_V6_DST
	}
	addresses := nl.NewRtAttr(unix.NLA_F_NESTED|tuple, nil)
	ip := addresses.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	ip.AddRtAttr(source, from.Addr().AsSlice())
	ip.AddRtAttr(destination, to.Addr().AsSlice())
	proto := addresses.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_NUM, []byte{byte(protocol)})
	proto.AddRtAttr(nl.CTA_PROTO_SRC_PORT, binary.BigEndian.AppendUint16(nil, from.Port()))
	proto.AddRtAttr(nl.CTA_PROTO_DST_PORT, binary.BigEndian.AppendUint16(nil, to.Port()))

	request := nl.NewNetlinkRequest(ctnetlinkGet, unix.NLM_F_ACK)
	request.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_NETFILTER: l.socket}
	request.AddData(&nl.Nfgenmsg{NfgenFamily: family, Version: nl.NFNETLINK_V0})
	request.AddData(addresses)
	answers, err := request.Execute(unix.NETLINK_NETFILTER, 0)
	if err != nil {
		return record.ConntrackEntry{}, fmt.Errorf("ask the connection table: %w", err)
	}
	if len(answers) == 0 {
		return record.ConntrackEntry{}, errors.New("ask the connection table: no answer")
	}
	return parseConntrackEntry(protocol, answers[0])
}

// parseConntrackEntry takes an answer apart, behind its nfgenmsg.
func parseConntrackEntry(protocol record.Protocol, answer []byte) (record.ConntrackEntry, error) {
	e := record.ConntrackEntry{ConntrackFlow: record.ConntrackFlow{Protocol: protocol}}
	if len(answer) < nl.SizeofNfgenmsg {
		return e, fmt.Errorf("read an entry of the connection table: %d bytes", len(answer))
	}
	for kind, value := range rtnl.Attributes(answer[nl.SizeofNfgenmsg:]) {
		switch {
		case kind == ctStatus && len(value) == 4:
			status := binary.BigEndian.Uint32(value)
			e.Replied, e.Assured = status&ctSeenReply != 0, status&ctAssured != 0
		case kind == ctTimeout && len(value) == 4:
			e.Timeout = time.Duration(binary.BigEndian.Uint32(value)) * time.Second
		case kind == nl.CTA_TUPLE_ORIG:
			e.Source, e.Destination = parseConntrackTuple(value)
		case kind == nl.CTA_TUPLE_REPLY:
			e.Translated, e.AnswersTo = parseConntrackTuple(value)
		}
	}
	return e, nil
}

// parseConntrackTuple returns a tuple's addresses, with ports; the zero AddrPort for what it does not have.
func parseConntrackTuple(tuple []byte) (source, destination netip.AddrPort) {
	parts := make(map[int][]byte)
	for part, value := range rtnl.Attributes(tuple) {
		for kind, value := range rtnl.Attributes(value) {
			parts[part<<8|kind] = value
		}
	}
	end := func(v4, v6, port int) netip.AddrPort {
		value := parts[nl.CTA_TUPLE_IP<<8|v4]
		if value == nil {
			value = parts[nl.CTA_TUPLE_IP<<8|v6]
		}
		number := parts[nl.CTA_TUPLE_PROTO<<8|port]
		address, ok := netip.AddrFromSlice(value)
		if !ok || len(number) != 2 {
			return netip.AddrPort{}
		}
		return netip.AddrPortFrom(address, binary.BigEndian.Uint16(number))
	}
	return end(nl.CTA_IP_V4_SRC, nl.CTA_IP_V6_SRC, nl.CTA_PROTO_SRC_PORT), end(nl.CTA_IP_V4_DST, nl.CTA_IP_V6_DST, nl.CTA_PROTO_DST_PORT)
}
