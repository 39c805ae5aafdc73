package identity

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"strings"
)

// podEndpoint is a pod behind a Service, with one of its addresses.
type podEndpoint struct {
	endpointKey
	pod  string
	node sharedString
}

// endpointKey is a pod and one of its addresses.
type endpointKey struct {
	address netip.Addr
	uid     uidHash // the pod's
}

// uidHash stands for an object's UID in this process.
type uidHash uint64

// String is the hash in the place of a UID, in the table of owners.
func (h uidHash) String() string { return strconv.FormatUint(uint64(h), 36) }

// packedPods are pods behind a Service in little memory: nearly all that an agent in node scope knows are these.
type packedPods struct {
	// fixed has of each its address, of 16 bytes if any is IPv6 and of 4 if not; the hash of its UID; where its name ends in names; and
	// whether its owner is implied.
	fixed []byte
	// names has what all names begin with, as pods of one workload's do, and then what is left of each.
	names  string
	prefix int // how long that beginning is
	nodes  []sharedString
	ipv6   bool
}

const (
	uidSize     = 8
	nameEndSize = 4
	impliedFlag = 1 << 31 // in the place of a name's end: that it owns the address is not in the table of owners (see implied_owner.go)
)

// packPods packs a list, of whose owners none is implied.
func packPods(list []podEndpoint) packedPods {
	var p packedPods
	for i := range list {
		p.ipv6 = p.ipv6 || !list[i].address.Is4()
		if i == 0 {
			p.prefix = len(list[0].pod)
		}
		p.prefix = commonPrefix(list[0].pod[:p.prefix], list[i].pod)
	}
	var names strings.Builder
	p.fixed, p.nodes = make([]byte, 0, len(list)*p.stride()), make([]sharedString, 0, len(list))
	for i := range list {
		e := &list[i]
		if i == 0 {
			names.WriteString(e.pod[:p.prefix])
		}
		names.WriteString(e.pod[p.prefix:])
		p.fixed = p.appendAddress(p.fixed, e.address)
		p.fixed = binary.LittleEndian.AppendUint64(p.fixed, uint64(e.uid))
		p.fixed = binary.LittleEndian.AppendUint32(p.fixed, uint32(names.Len()))
		p.nodes = append(p.nodes, e.node)
	}
	p.names = strings.Clone(names.String()) // of its own length
	return p
}

// commonPrefix is how many bytes two strings have in common at their beginning.
func commonPrefix(a, b string) (n int) {
	for n < min(len(a), len(b)) && a[n] == b[n] {
		n++
	}
	return n
}

func (p *packedPods) addressSize() int {
	if p.ipv6 {
		return 16
	}
	return 4
}

func (p *packedPods) stride() int { return p.addressSize() + uidSize + nameEndSize }

func (p *packedPods) len() int { return len(p.nodes) }

// appendAddress appends an address as it is packed; nothing for one that cannot be among these.
func (p *packedPods) appendAddress(to []byte, a netip.Addr) []byte {
	switch {
	case p.ipv6:
		b := a.As16()
		return append(to, b[:]...)
	case a.Is4():
		b := a.As4()
		return append(to, b[:]...)
	}
	return to
}

func (p *packedPods) address(i int) netip.Addr {
	from := i * p.stride()
	a, _ := netip.AddrFromSlice(p.fixed[from : from+p.addressSize()])
	return a.Unmap()
}

// end is where a pod's name ends, and whether its owner is implied.
func (p *packedPods) end(i int) (end int, implied bool) {
	n := binary.LittleEndian.Uint32(p.fixed[(i+1)*p.stride()-nameEndSize:])
	return int(n &^ impliedFlag), n&impliedFlag != 0
}

func (p *packedPods) implied(i int) bool {
	_, implied := p.end(i)
	return implied
}

// imply notes that a pod's owner is implied.
func (p *packedPods) imply(i int) { p.fixed[(i+1)*p.stride()-1] |= impliedFlag >> 24 }

func (p *packedPods) key(i int) endpointKey {
	return endpointKey{address: p.address(i), uid: uidHash(binary.LittleEndian.Uint64(p.fixed[i*p.stride()+p.addressSize():]))}
}

// suffix is what is left of a pod's name.
func (p *packedPods) suffix(i int) string {
	begin := p.prefix
	if i > 0 {
		begin, _ = p.end(i - 1)
	}
	end, _ := p.end(i)
	return p.names[begin:end]
}

// at unpacks one. That makes its name.
func (p *packedPods) at(i int) podEndpoint {
	return podEndpoint{endpointKey: p.key(i), pod: p.names[:p.prefix] + p.suffix(i), node: p.nodes[i]}
}

// same tells whether i says the same as j among others.
func (p *packedPods) same(i int, o *packedPods, j int) bool {
	if p.key(i) != o.key(j) || p.nodes[i] != o.nodes[j] {
		return false
	}
	if p.names[:p.prefix] == o.names[:o.prefix] {
		return p.suffix(i) == o.suffix(j)
	}
	return p.at(i).pod == o.at(j).pod
}

// each calls yield for those with an address, until it is false.
func (p *packedPods) each(address netip.Addr, yield func(i int) bool) {
	var buffer [16]byte
	wanted := p.appendAddress(buffer[:0], address)
	if len(wanted) == 0 {
		return
	}
	for i, stride := 0, p.stride(); i < p.len(); i++ {
		if from := i * stride; string(p.fixed[from:from+len(wanted)]) == string(wanted) && !yield(i) {
			return
		}
	}
}

// find is where one is that says the same as i among others, -1 for nowhere. It looks near i first, on both sides: of a slice that
// changes most stay where they are, or move by as many as came or went.
func (p *packedPods) find(o *packedPods, i int) int {
	for n := range max(i+1, p.len()-i) {
		for _, k := range [...]int{i - n, i + n} {
			if k >= 0 && k < p.len() && p.same(k, o, i) {
				return k
			}
		}
	}
	return -1
}
