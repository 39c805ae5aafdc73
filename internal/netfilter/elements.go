package netfilter

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
	"tracer/internal/rtnl"
)

// maxElements bounds the elements that are read of a map.
const maxElements = 4096

// elements hands on the elements of a map, with their number from 1.
func (s *ruleset) elements(set chainKey, take func(n int, element []byte)) error {
	request := append(attribute(unix.NFTA_SET_ELEM_LIST_TABLE, set.table), attribute(unix.NFTA_SET_ELEM_LIST_SET, set.chain)...)
	n := 0
	err := s.dump(unix.NFT_MSG_GETSETELEM, set.family, request, func(_ uint8, data []byte) bool {
		for kind, list := range rtnl.Attributes(data) {
			if kind != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
				continue
			}
			for _, element := range rtnl.Attributes(list) {
				if n++; n > maxElements {
					return false
				}
				take(n, element)
			}
		}
		return true
	})
	if err != nil {
		return fmt.Errorf("read nftables' map %s: %w", set.chain, err)
	}
	return nil
}

// addElements takes the elements of one of kube-proxy's maps of Services without endpoints for rules: those that are dropped
// and those that are sent to the chain that rejects them.
func (s *ruleset) addElements(set chainKey, chain string) error {
	return s.elements(set, func(n int, element []byte) {
		r := record.Rule{
			Family: families[set.family], Table: set.table, Chain: chain, Map: set.chain, Number: n,
			Verdict: record.VerdictReject, // in a chain of kube-proxy's
		}
		decodeElement(&r, element)
		s.rules = append(s.rules, r)
	})
}

// attribute makes a netlink attribute of a string.
func attribute(kind uint16, value string) []byte {
	data := binary.NativeEndian.AppendUint16(nil, uint16(unix.SizeofNlAttr+len(value)+1))
	data = append(binary.NativeEndian.AppendUint16(data, kind), value...)
	return append(data, make([]byte, 4-len(data)%4)...)
}

// decodeElement fills in what an element matches, by the length of its key: addresses, then protocol and port, each in words of 4
// bytes.
func decodeElement(r *record.Rule, element []byte) {
	for kind, value := range rtnl.Attributes(element) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			for kind, key := range rtnl.Attributes(value) {
				if kind == unix.NFTA_DATA_VALUE {
					decodeKey(&r.Match, key)
				}
			}
		case unix.NFTA_SET_ELEM_DATA:
			if dropsData(value) {
				r.Verdict = record.VerdictDrop
			}
		case unix.NFTA_SET_ELEM_USERDATA:
			if validUserData(value) {
				r.Comment, _ = userdata.GetString(value, userdata.NFTNL_UDATA_SET_ELEM_COMMENT)
			}
		}
	}
}

// dropsData tells whether an element's data is the verdict to drop.
func dropsData(data []byte) bool {
	for kind, verdict := range rtnl.Attributes(data) {
		if kind != unix.NFTA_DATA_VERDICT {
			continue
		}
		for kind, code := range rtnl.Attributes(verdict) {
			if kind == unix.NFTA_VERDICT_CODE && len(code) == 4 {
				return int32(binary.BigEndian.Uint32(code)) >= 0 && binary.BigEndian.Uint32(code)&verdictMask == nfDrop
			}
		}
	}
	return false
}

func decodeKey(m *record.RuleMatch, key []byte) {
	n := len(key) - 8
	if n != 0 && n != 4 && n != 16 {
		return
	}
	if address, ok := netip.AddrFromSlice(key[:n]); ok {
		m.Destination.Prefix = netip.PrefixFrom(address, address.BitLen())
	}
	m.Protocol = record.Protocol(key[n])
	port := binary.BigEndian.Uint16(key[n+4:])
	m.Port = record.PortMatch{Low: port, High: port, Set: true}
}
