package netfilter

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

func newTestRuleset() *ruleset {
	return &ruleset{
		limit: 100, tables: map[chainKey]*table{}, calls: map[chainKey][]chainKey{}, hooks: map[chainKey]record.Hooks{},
		maps: map[chainKey]string{}, mapped: map[chainKey][]mapped{},
	}
}

// expressionList is the expressions of a rule as the kernel lists them.
func expressionList(t testing.TB, expressions ...expr.Any) []byte {
	var list []byte
	for _, e := range expressions {
		data, err := expr.Marshal(unix.NFPROTO_IPV4, e)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, nl.NewRtAttr(unix.NLA_F_NESTED|unix.NFTA_LIST_ELEM, data).Serialize()...)
	}
	return list
}

func ruleMessage(expressions []byte) []byte {
	return bytes.Join([][]byte{
		nl.NewRtAttr(unix.NFTA_RULE_TABLE, nl.ZeroTerminated("filter")).Serialize(), nl.NewRtAttr(unix.NFTA_RULE_CHAIN, nl.ZeroTerminated("FORWARD")).Serialize(),
		nl.NewRtAttr(unix.NFTA_RULE_HANDLE, binary.BigEndian.AppendUint64(nil, 7)).Serialize(),
		nl.NewRtAttr(unix.NLA_F_NESTED|unix.NFTA_RULE_EXPRESSIONS, expressions).Serialize(),
		nl.NewRtAttr(unix.NFTA_RULE_USERDATA, []byte{0, 4, 'w', 'h', 'y', 0}).Serialize(),
	}, nil)
}

// FuzzRuleset reads nftables' chains, rules and elements of maps.
func FuzzRuleset(f *testing.F) {
	drop := &expr.Verdict{Kind: expr.VerdictDrop}
	payload := func(base expr.PayloadBase, offset, length uint32) expr.Any {
		return &expr.Payload{DestRegister: 1, Base: base, Offset: offset, Len: length}
	}
	network, transport := expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader
	hook := append(nl.NewRtAttr(unix.NFTA_HOOK_HOOKNUM, []byte{0, 0, 0, 2}).Serialize(), nl.NewRtAttr(unix.NFTA_HOOK_PRIORITY, make([]byte, 4)).Serialize()...)
	chain := bytes.Join([][]byte{
		nl.NewRtAttr(unix.NFTA_CHAIN_TABLE, nl.ZeroTerminated("filter")).Serialize(), nl.NewRtAttr(unix.NFTA_CHAIN_NAME, nl.ZeroTerminated("FORWARD")).Serialize(),
		nl.NewRtAttr(unix.NFTA_CHAIN_HOOK, hook).Serialize(), nl.NewRtAttr(unix.NFTA_CHAIN_POLICY, make([]byte, 4)).Serialize(),
	}, nil)
	dropped := append(nl.NewRtAttr(unix.NFTA_SET_ELEM_KEY, nl.NewRtAttr(unix.NFTA_DATA_VALUE, []byte{10, 0, 0, 1, 6, 0, 0, 0, 0, 80, 0, 0}).Serialize()).Serialize(),
		nl.NewRtAttr(unix.NFTA_SET_ELEM_DATA, nl.NewRtAttr(unix.NFTA_DATA_VERDICT, nl.NewRtAttr(unix.NFTA_VERDICT_CODE, make([]byte, 4)).Serialize()).Serialize()).Serialize()...)
	for _, rule := range [][]expr.Any{
		{payload(network, 12, 4), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{255, 255, 0, 0}, Xor: make([]byte, 4)},
			&expr.Cmp{Register: 1, Data: []byte{10, 244, 0, 0}}, &expr.Counter{Packets: 9}, drop},
		{payload(network, 16, 3), &expr.Cmp{Register: 1, Data: []byte{10, 244, 1}}, drop},
		{payload(transport, 2, 2), &expr.Range{Register: 1, FromData: []byte{0, 80}, ToData: []byte{0, 90}}, drop},
		{payload(transport, 2, 2), &expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: []byte{0, 80}}, &expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: []byte{0, 90}}, drop},
		{&expr.Ct{Key: expr.CtKeySTATE, Register: 1}, &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: []byte{8, 0, 0, 0}, Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)}, drop},
		{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Register: 1, Data: []byte{6}}, &expr.Reject{}},
		{&expr.Queue{Num: 5, Total: 2, Flag: expr.QueueFlagBypass}},
		{payload(transport, 2, 2), &expr.Lookup{SourceRegister: 1, SetName: "no-endpoint-services", IsDestRegSet: true}},
		{&expr.Verdict{Kind: expr.VerdictJump, Chain: "FORWARD"}},
	} {
		f.Add(uint8(unix.NFPROTO_IPV4), chain, ruleMessage(expressionList(f, rule...)), dropped, dropped)
	}
	f.Fuzz(func(_ *testing.T, family uint8, chain, rule, one, other []byte) {
		s := newTestRuleset()
		s.addChain(family, chain)
		s.addRule(family, rule)
		s.addRule(family, rule)
		for _, mapped := range s.mapped {
			s.addElementsOf("map", mapped, []element{decodeMapElement(one), decodeMapElement(other)})
		}
		var r record.Rule
		decodeElement(&r, one)
		s.findHooks()
		for i := range s.rules {
			_, _, _ = s.rules[i].String(), s.rules[i].Show(), s.rules[i].Key()
		}
	})
}

// FuzzLegacy reads tables of the old iptables.
func FuzzLegacy(f *testing.F) {
	for v6, l := range map[bool]*layout{false: &legacy4, true: &legacy6} {
		info := make([]byte, infoBytes)
		info[32] = 1 << 2 // FORWARD
		rule := make([]byte, l.header+2*extensionHeader+16)
		copy(rule, []byte{10, 0, 0, 0})
		target, next := l.header+extensionHeader+8, len(rule)
		binary.NativeEndian.PutUint16(rule[l.offsets:], uint16(target))
		binary.NativeEndian.PutUint16(rule[l.offsets+2:], uint16(next))
		binary.NativeEndian.PutUint16(rule[l.header:], extensionHeader+8)
		copy(rule[l.header+2:], "tcp")
		verdict := int32(-nfDrop - 1)
		binary.NativeEndian.PutUint32(rule[target+extensionHeader:], uint32(verdict))
		f.Add(v6, info, rule)
		f.Add(v6, info, append(bytes.Clone(rule), rule...))
	}
	f.Fuzz(func(_ *testing.T, v6 bool, info, entries []byte) {
		info = append(info, make([]byte, infoBytes)...)[:infoBytes] // as long as was asked for
		l := &legacy4
		if v6 {
			l = &legacy6
		}
		for _, r := range l.parse("filter", info, entries) {
			_, _, _ = r.String(), r.Show(), r.Key()
		}
	})
}
