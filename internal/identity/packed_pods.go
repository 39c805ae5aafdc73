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
	names string // one after another
	nodes []sharedString
	ipv6  bool
}

const (
	uidSize     = 8
	nameEndSize = 4
	impliedFlag = 1 << 31 // in the place of a name's end: that it owns the address is not in the table of owners (see implied_owner.go)
)

// packPods packs a list, of whose owners none is implied.
func packPods(list []podEndpoint) packedPods {
	var p packedPods
	length := 0
	for i := range list {
		p.ipv6 = p.ipv6 || !list[i].address.Is4()
		length += len(list[i].pod)
	}
	var names strings.Builder
	names.Grow(length)
	p.fixed, p.nodes = make([]byte, 0, len(list)*p.stride()), make([]sharedString, 0, len(list))
	for i := range list {
		e := &list[i]
		names.WriteString(e.pod)
		p.fixed = p.appendAddress(p.fixed, e.address)
		p.fixed = binary.LittleEndian.AppendUint64(p.fixed, uint64(e.uid))
		p.fixed = binary.LittleEndian.AppendUint32(p.fixed, uint32(names.Len()))
		p.nodes = append(p.nodes, e.node)
	}
	p.names = names.String()
	return p
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

// at does not allocate.
func (p *packedPods) at(i int) podEndpoint {
	begin := 0
	if i > 0 {
		begin, _ = p.end(i - 1)
	}
	end, _ := p.end(i)
	uid := uidHash(binary.LittleEndian.Uint64(p.fixed[i*p.stride()+p.addressSize():]))
	return podEndpoint{endpointKey: endpointKey{address: p.address(i), uid: uid}, pod: p.names[begin:end], node: p.nodes[i]}
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

// all are the pods, unpacked. Their names stay where they are.
func (p *packedPods) all() []podEndpoint {
	list := make([]podEndpoint, p.len())
	for i := range list {
		list[i] = p.at(i)
	}
	return list
}

// find is where a pod is that says the same, -1 for nowhere. It looks near i first: of a slice that changes most stay where they are.
func (p *packedPods) find(e podEndpoint, near int) int {
	for n := range p.len() {
		if i := (near + n) % p.len(); p.at(i) == e {
			return i
		}
	}
	return -1
}
