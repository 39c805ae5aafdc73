package netfilter

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// field is what of a packet a register of nftables' machine was loaded with.
type field struct {
	base   expr.PayloadBase // of the next two
	offset uint32
	length uint32
	l4, ct bool
	mask   []byte // of a bitwise operation
	low    []byte // it was found to be that or more
}

// decode fills in what a rule does to which packets, and returns what of them it asks a verdict map for, if one decides. What is not
// understood of it may be anything.
func decode(r *record.Rule, family uint8, expressions []byte) (by field) {
	registers := map[uint32]field{}
	for name, data := range expressionsOf(expressions) {
		switch string(name) {
		case "counter":
			r.Packets, r.Counted = counted(data)
		case "reject":
			r.Verdict = record.VerdictReject
		case "queue":
			var e expr.Queue
			if expr.Unmarshal(family, data, &e) == nil {
				r.Verdict, r.Queue, r.Queues, r.Bypass = record.VerdictQueue, e.Num, max(1, e.Total), e.Flag&expr.QueueFlagBypass != 0
			}
		case "immediate":
			if code, _ := verdictOf(data, unix.NFTA_IMMEDIATE_DATA); code&verdictMask == nfDrop {
				r.Verdict = record.VerdictDrop
			}
		case "target":
			var e expr.Target
			if expr.Unmarshal(family, data, &e) == nil {
				info, _ := e.Info.(*xt.Unknown)
				setTarget(r, e.Name, e.Rev, info)
			}
		case "match":
			var e expr.Match
			if expr.Unmarshal(family, data, &e) == nil {
				addMatch(r, e.Name, e.Rev, e.Info)
			}
		case "payload":
			var e expr.Payload
			if expr.Unmarshal(family, data, &e) == nil {
				registers[e.DestRegister] = field{base: e.Base, offset: e.Offset, length: e.Len}
			}
		case "meta":
			var e expr.Meta
			if expr.Unmarshal(family, data, &e) == nil {
				registers[e.Register] = field{l4: e.Key == expr.MetaKeyL4PROTO}
			}
		case "ct":
			var e expr.Ct
			if expr.Unmarshal(family, data, &e) == nil {
				registers[e.Register] = field{ct: e.Key == expr.CtKeySTATE}
			}
		case "bitwise":
			var e expr.Bitwise
			if expr.Unmarshal(family, data, &e) == nil {
				f := registers[e.SourceRegister]
				f.mask = e.Mask
				registers[e.DestRegister] = f
			}
		case "cmp":
			var e expr.Cmp
			if expr.Unmarshal(family, data, &e) != nil {
				continue
			}
			switch f := registers[e.Register]; e.Op {
			case expr.CmpOpEq, expr.CmpOpNeq:
				f.compare(r, e.Data, e.Data, e.Op == expr.CmpOpNeq)
			case expr.CmpOpGte: // the one end of a range, of which the other follows
				f.low = e.Data
				registers[e.Register] = f
			case expr.CmpOpLte:
				if f.low != nil {
					f.compare(r, f.low, e.Data, false)
				}
			}
		case "range":
			var e expr.Range
			if expr.Unmarshal(family, data, &e) == nil {
				registers[e.Register].compare(r, e.FromData, e.ToData, e.Op == expr.CmpOpNeq)
			}
		case "lookup":
			var e expr.Lookup
			if verdictMap(data) != nil && expr.Unmarshal(family, data, &e) == nil {
				by = registers[e.SourceRegister]
			}
		}
	}
	return by
}

// compare takes a comparison of what a register was loaded with for a condition.
func (f field) compare(r *record.Rule, low, high []byte, not bool) {
	m := &r.Match
	switch {
	case f.ct:
		if len(f.mask) == 4 && not { // the bits of the mask, any of them
			m.State = states(binary.NativeEndian.Uint32(f.mask), nftStates)
		}
	case f.l4:
		setProtocol(m, low, not)
	case f.base == expr.PayloadBaseTransportHeader && f.length == 2 && f.mask == nil && len(low) == 2 && len(high) == 2:
		ports := record.PortMatch{Low: binary.BigEndian.Uint16(low), High: binary.BigEndian.Uint16(high), Set: true, Not: not}
		switch f.offset {
		case 0:
			m.SourcePort = ports
		case 2:
			m.Port = ports
		}
	case f.base == expr.PayloadBaseNetworkHeader:
		f.compareHeader(r, low, high, not)
	}
}

// compareHeader is compare for IP's header.
func (f field) compareHeader(r *record.Rule, low, high []byte, not bool) {
	m := &r.Match
	source, destination, protocol, size := uint32(12), uint32(16), uint32(9), uint32(4)
	if r.Family == "ip6" || r.Family != "ip" && (f.offset == 8 || f.offset == 24) {
		source, destination, protocol, size = 8, 24, 6, 16
	}
	switch {
	case f.offset == protocol && f.length == 1:
		setProtocol(m, low, not)
		return
	case f.offset != source && f.offset != destination, string(low) != string(high), f.length > size, int(f.length) != len(low):
		return
	}
	bits := int(f.length) * 8 // whole bytes of a prefix are compared alone
	if f.mask != nil {
		bits = prefixLength(f.mask)
	}
	address, ok := netip.AddrFromSlice(append(slices.Clip(low), make([]byte, int(size)-len(low))...))
	if !ok || bits < 0 {
		return
	}
	match := record.AddressMatch{Prefix: netip.PrefixFrom(address, bits), Not: not}
	if f.offset == source {
		m.Source = match
	} else {
		m.Destination = match
	}
}

// prefixLength is that of a mask; −1 if it is none of a prefix.
func prefixLength(mask []byte) int {
	bits, ended := 0, false
	for _, b := range mask {
		for i := 7; i >= 0; i-- {
			switch one := b&(1<<i) != 0; {
			case one && ended:
				return -1
			case one:
				bits++
			default:
				ended = true
			}
		}
	}
	return bits
}

func setProtocol(m *record.RuleMatch, value []byte, not bool) {
	if len(value) == 1 && !not {
		m.Protocol = record.Protocol(value[0])
	}
}

// nftStates are the states of connections as nft has them in its masks, xtStates as iptables has.
var (
	nftStates = map[uint32]string{1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}
	xtStates  = map[uint32]string{1: "invalid", 2: "established", 4: "related", 8: "new", 256: "untracked"}
)

// states lists those of a mask.
func states(mask uint32, names map[uint32]string) string {
	var list []string
	for bit := uint32(1); bit != 0; bit <<= 1 {
		if mask&bit != 0 && names[bit] != "" {
			list = append(list, names[bit])
		}
	}
	return strings.Join(list, ",")
}

// targetVerdict is what a target of iptables does; "" if it loses no packet.
func targetVerdict(name string) record.Verdict {
	switch name {
	case "DROP":
		return record.VerdictDrop
	case "REJECT":
		return record.VerdictReject
	case "NFQUEUE":
		return record.VerdictQueue
	}
	return ""
}

// setTarget takes a target of iptables.
func setTarget(r *record.Rule, name string, revision uint32, info *xt.Unknown) {
	if r.Verdict = targetVerdict(name); r.Verdict != record.VerdictQueue || info == nil {
		return
	}
	// struct xt_NFQ_info: the number; since version 1 how many; since 2 bypass, and since 3 flags of which that is the first.
	data := []byte(*info)
	if r.Queues = 1; len(data) >= 2 {
		r.Queue = binary.NativeEndian.Uint16(data)
	}
	if revision >= 1 && len(data) >= 4 {
		r.Queues = max(1, binary.NativeEndian.Uint16(data[2:]))
	}
	r.Bypass = revision >= 2 && len(data) >= 6 && data[4]&1 != 0
}

// addMatch takes a match of iptables.
func addMatch(r *record.Rule, name string, revision uint32, info xt.InfoAny) {
	m := &r.Match
	ports := func(p [2]uint16, not bool) record.PortMatch {
		return record.PortMatch{Low: p[0], High: p[1], Set: p[0] > 0 || p[1] < 0xffff, Not: not}
	}
	switch info := info.(type) {
	case *xt.Comment:
		comment, _, _ := strings.Cut(string(*info), "\x00")
		if r.Comment = strings.TrimSpace(r.Comment + " " + comment); len(r.Comment) > maxComment {
			r.Comment = r.Comment[:maxComment]
		}
	case *xt.Tcp:
		m.Protocol = record.ProtocolTCP
		m.SourcePort = ports(info.SrcPorts, info.InvFlags&xt.TcpInvSrcPorts != 0)
		m.Port = ports(info.DstPorts, info.InvFlags&xt.TcpInvDestPorts != 0)
	case *xt.Udp:
		m.Protocol = record.ProtocolUDP
		m.SourcePort = ports(info.SrcPorts, info.InvFlags&xt.UdpInvSrcPorts != 0)
		m.Port = ports(info.DstPorts, info.InvFlags&xt.UdpInvDestPorts != 0)
	case *xt.ConntrackMtinfo3:
		if info.MatchFlags&uint16(xt.ConntrackState) != 0 && info.InvertFlags&uint16(xt.ConntrackState) == 0 {
			m.State = states(uint32(info.StateMask), xtStates)
		}
	case *xt.Unknown:
		if name == "state" && len(*info) >= 4 {
			m.State = states(binary.NativeEndian.Uint32(*info), xtStates)
		}
	}
}

// maxComment bounds the comments that are kept: kube-proxy's and Calico's are shorter.
const maxComment = 256
