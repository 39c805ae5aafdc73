package netfilter

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
	"tracer/internal/rtnl"
)

// maxVerdictMaps bounds the verdict maps of which the elements are read, and of which rules they are.
const maxVerdictMaps = 64

// mapped is a rule that has a verdict map decide.
type mapped struct {
	rule record.Rule
	by   field // what of a packet it asks the map for
}

// verdictMap is the map that decides, of a lookup; nil if none does.
func verdictMap(lookup []byte) (name []byte) {
	decides := false
	for kind, value := range rtnl.Attributes(lookup) {
		switch kind {
		case unix.NFTA_LOOKUP_SET:
			name = value
		case unix.NFTA_LOOKUP_DREG:
			decides = len(value) == 4 && binary.BigEndian.Uint32(value) == unix.NFT_REG_VERDICT
		}
	}
	if !decides {
		return nil
	}
	return name
}

// element is one of a verdict map: of an interval the start, or with an end the one behind it.
type element struct {
	key         []byte
	drops, ends bool
}

// addMapped takes rules for as many as their map drops by elements. Their own counters count all packets that come to the map, and say
// nothing of those that are dropped.
func (s *ruleset) addMapped(set chainKey, rules []mapped) error {
	var all []element
	err := s.elements(set, func(_ int, data []byte) { all = append(all, decodeMapElement(data)) })
	s.addElementsOf(set.chain, rules, all)
	return err
}

// decodeMapElement reads an element of a verdict map.
func decodeMapElement(data []byte) (e element) {
	for kind, value := range rtnl.Attributes(data) {
		switch kind {
		case unix.NFTA_SET_ELEM_KEY:
			for kind, key := range rtnl.Attributes(value) {
				if kind == unix.NFTA_DATA_VALUE {
					e.key = bytes.Clone(key)
				}
			}
		case unix.NFTA_SET_ELEM_DATA:
			e.drops = dropsData(value)
		case unix.NFTA_SET_ELEM_FLAGS:
			e.ends = len(value) == 4 && binary.BigEndian.Uint32(value)&unix.NFT_SET_ELEM_INTERVAL_END != 0
		}
	}
	return e
}

// addElementsOf takes rules for as many as the elements of their map drop.
func (s *ruleset) addElementsOf(name string, rules []mapped, all []element) {
	slices.SortStableFunc(all, func(x, y element) int { return bytes.Compare(x.key, y.key) })
	intervals := slices.ContainsFunc(all, func(e element) bool { return e.ends })
	for i := range all {
		if !all[i].drops {
			continue
		}
		low, high := all[i].key, all[i].key
		if intervals {
			high = bytes.Repeat([]byte{0xff}, len(low))
			if i+1 < len(all) {
				high = before(all[i+1].key)
			}
		}
		for _, m := range rules {
			r := m.rule
			r.Verdict, r.VerdictMap, r.Counted, r.Packets = record.VerdictDrop, name, false, 0
			m.by.matchKey(&r, low, high)
			s.rules = append(s.rules, r)
		}
	}
}

// before is the key before another.
func before(key []byte) []byte {
	key = bytes.Clone(key)
	for i := len(key) - 1; i >= 0; i-- {
		key[i]--
		if key[i] != 0xff {
			break
		}
	}
	return key
}

// matchKey takes a key of a map, or an interval of such, for a condition. What it does not understand, as several fields in one, may be
// anything.
func (f field) matchKey(r *record.Rule, low, high []byte) {
	switch {
	case f.ct && len(low) == 4:
		r.Match.State = states(binary.NativeEndian.Uint32(low), nftStates)
	case f.ct || f.l4 && !bytes.Equal(low, high):
	case f.length > 0 && int(f.length) != len(low):
	case f.base == expr.PayloadBaseNetworkHeader && f.mask == nil && len(low) >= 4 && !bytes.Equal(low, high): // of addresses: a prefix, or it is left out
		f.mask = make([]byte, len(low))
		for i := range f.mask {
			f.mask[i] = ^(low[i] ^ high[i])
		}
		f.compare(r, low, low, false)
	default:
		f.compare(r, low, high, false)
	}
}
