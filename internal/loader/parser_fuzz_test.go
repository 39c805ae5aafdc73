package loader

import (
	"bytes"
	"errors"
	"testing"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/header"
)

// parserSeeds are frames of all kinds that the parser knows.
func parserSeeds() [][]byte {
	segment := tcp(4000, 80, 1000, "hello, world")
	inner := ipv4{src: pod1, dst: pod2, protocol: 6, id: 7}.over(segment)
	inner6 := ipv6("fd00::1", "fd00::2", 17, udp(5, 53, []byte("question")))
	datagram := func(dst uint16, payload []byte) []byte {
		return join(ethernet(unix.ETH_P_IP), ipv4{src: node1, dst: node2, protocol: 17}.over(udp(555, dst, payload)))
	}
	over := func(protocol uint8, b []byte) []byte {
		return join(ethernet(unix.ETH_P_IP), ipv4{src: node1, dst: node2, protocol: protocol}.over(b))
	}
	mapped := ipv6("::ffff:10.0.0.1", "::ffff:10.0.0.2", 6, segment)
	jumbo := ipv6("fd00::1", "fd00::2", 6, segment)
	jumbo[4], jumbo[5] = 0, 0
	return [][]byte{
		join(ethernet(unix.ETH_P_IP), inner),
		join(ethernet(unix.ETH_P_IP), inner, make([]byte, 20)),
		join(ethernet(unix.ETH_P_IPV6), inner6), join(ethernet(unix.ETH_P_IPV6), mapped), join(ethernet(unix.ETH_P_IPV6), jumbo),
		join(ethernet(unix.ETH_P_IPV6), inner), join(ethernet(unix.ETH_P_IP), inner6), // the type does not say what follows
		join(ethernet(unix.ETH_P_8021AD), vlan(7, unix.ETH_P_8021Q), vlan(8, unix.ETH_P_IP), inner),
		join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 6, options: []byte{1, 1, 1, 0}}.over(segment)),
		join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 17, fragment: 0x2000}.over(udp(9, 10, []byte("12345678")))),
		join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 17, fragment: 185}.over([]byte("12345678"))),
		join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 1}.over([]byte{8, 0, 1, 2, 0, 9, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8})),
		join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 132}.over(make([]byte, 12))),
		join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: 50}.over([]byte{0, 0, 0, 1})),
		join(ethernet(unix.ETH_P_IPV6), ipv6("fd00::1", "fd00::2", 0,
			join([]byte{60, 0, 1, 4, 0, 0, 0, 0}, []byte{43, 1, 1, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, []byte{44, 0, 0, 0, 0, 0, 0, 0}, []byte{6, 0, 0, 1, 0, 0, 0, 9}, segment))),
		join(ethernet(unix.ETH_P_IPV6), ipv6("fd00::1", "fd00::2", 44, join([]byte{17, 0, 0, 9, 0, 0, 0, 1}, []byte("12345678")))),
		over(4, inner), over(41, inner6), over(4, ipv4{src: node1, dst: node2, protocol: 4}.over(inner)),
		over(47, join([]byte{0, 0, 8, 0}, inner)), over(47, join([]byte{0xb0, 0, 0x65, 0x58}, make([]byte, 12), ethernet(unix.ETH_P_IPV6), inner6)),
		over(47, join([]byte{0x30, 1, 0x88, 0x0b}, inner)),
		datagram(modelVXLAN, vxlan(join(ethernet(unix.ETH_P_IP), inner))), datagram(modelVXLAN, vxlan(join(ethernet(unix.ETH_P_8021Q), vlan(3, unix.ETH_P_IPV6), inner6))),
		datagram(modelGeneve, geneve(nil, join(ethernet(unix.ETH_P_IP), inner))), datagram(modelGeneve, geneve(make([]byte, 12), join(ethernet(unix.ETH_P_IPV6), inner6))),
		datagram(4790, vxlan(join(ethernet(unix.ETH_P_IP), inner))),
		join(ethernet(unix.ETH_P_ARP), make([]byte, 46)), join(ethernet(46), make([]byte, 46)),
	}
}

// parserUnderTest runs the program of ingress, of which the model says what it should find.
type parserUnderTest struct {
	*loaded
	ethernet bool
	last     int // the bucket of the packet before: sk_buffs lie at the same address often
}

// expect tells the programs what kind of device it is.
func (p *parserUnderTest) expect(ethernet bool) error {
	const first = 1
	device := bpfobj.TracerDevice{Ifindex: first}
	if ethernet {
		device.Ethernet = 1
	}
	var all [deviceBuckets]bpfobj.TracerDeviceBucket
	all[first].Device[0] = device
	p.ethernet = ethernet
	return p.objects.Devices.Set(&all)
}

// counted are the packets that were malformed or too deep.
func (p *parserUnderTest) counted() (malformed, tooDeep uint64, err error) {
	var cpus []bpfobj.TracerCounters
	err = p.objects.Counters.Lookup(uint32(0), &cpus)
	for i := range cpus {
		malformed += cpus[i].Count[bpfobj.TracerCounterCOUNT_MALFORMED]
		tooDeep += cpus[i].Count[bpfobj.TracerCounterCOUNT_TOO_DEEP]
	}
	return malformed, tooDeep, err
}

// take returns the journey that has begun and gives its slot free; nil if none has.
func (p *parserUnderTest) take() *bpfobj.TracerJourney {
	for n := range len(p.buckets) {
		i := (p.last + n) % len(p.buckets)
		for slot, tag := range p.buckets[i].Tag {
			if tag != 0 {
				p.buckets[i].Tag[slot] = 0
				p.last = i
				j := p.journeys[i].Journey[slot]
				return &j
			}
		}
	}
	return nil
}

// check runs the program over a frame and compares what it found with the model.
func (p *parserUnderTest) check(t testing.TB, frame []byte, ethernet bool) {
	if ethernet != p.ethernet {
		if err := p.expect(ethernet); err != nil {
			t.Fatal(err)
		}
	}
	malformedBefore, deepBefore, err := p.counted()
	if err != nil {
		t.Fatal(err)
	}
	opts := ebpf.RunOptions{Data: frame, DataOut: make([]byte, len(frame)+64), Context: skb{WireLen: uint32(len(frame))}}
	verdict, err := p.objects.Ingress.Run(&opts)
	const headers = 14 + 40
	if errors.Is(err, unix.EINVAL) && len(frame) < headers {
		return // newer kernels take no frame whose IP header is cut short
	}
	if err != nil {
		t.Fatalf("%x: %v", frame, err)
	}
	if int32(verdict) != -1 || !bytes.Equal(opts.DataOut, frame) {
		t.Fatalf("%x: verdict %d, changed %v", frame, int32(verdict), !bytes.Equal(opts.DataOut, frame))
	}
	malformedAfter, deepAfter, err := p.counted()
	if err != nil {
		t.Fatal(err)
	}
	j := p.take()
	got := header.NotIP
	switch {
	case j != nil:
		got = header.Parsed
	case malformedAfter != malformedBefore:
		got = header.Malformed
	case deepAfter != deepBefore:
		got = header.TooDeep
	}
	want, end := parseModel(frame, ethernet)
	if got != end {
		t.Fatalf("%x: %s, want %s", frame, got, end)
	}
	if j == nil {
		return
	}
	found := header.Packet{
		Flow: convertFlow(&j.First), Fingerprint: j.Fingerprint, Outer: j.Outer, IPBytes: j.IpBytes,
		Encapsulated: j.Flags&uint16(bpfobj.TracerFlagFLAG_ENCAP) != 0, Fragment: j.Flags&uint16(bpfobj.TracerFlagFLAG_FRAGMENT) != 0,
		Bytes: want.Bytes, // which the programs do not look for
	}
	if found != want {
		t.Fatalf("%x:\n%+v, want\n%+v", frame, found, want)
	}
}

// FuzzParser runs the parser of headers in the kernel over random and mutated packets, beside a model of it.
func FuzzParser(f *testing.F) {
	oneKernel.Lock()
	f.Cleanup(oneKernel.Unlock)
	l, err := loadKernel()
	if v, ok := errors.AsType[*ebpf.VerifierError](err); ok {
		f.Fatalf("%+v", v)
	} else if err != nil {
		f.Fatal(err)
	}
	if err := l.objects.Settings.Set(bpfobj.TracerConfig{
		VxlanPort: [8]uint16{hostOrder(modelVXLAN)}, GenevePort: [8]uint16{hostOrder(modelGeneve)}, WakeupBytes: 1 << 20,
	}); err != nil {
		f.Fatal(err)
	}
	p := &parserUnderTest{loaded: l}
	for p.take() != nil { // of earlier tests
	}
	if err := p.expect(true); err != nil {
		f.Fatal(err)
	}
	for _, frame := range parserSeeds() {
		f.Add(frame, true)
		f.Add(frame, false)
	}
	f.Fuzz(func(t *testing.T, frame []byte, ethernet bool) {
		const shortest, longest = 15, 1600 // the kernel refuses what has nothing behind the Ethernet header
		if len(frame) < shortest || len(frame) > longest {
			return
		}
		if !ethernet && (frame[0] == 0x45 || frame[0] == 0x60) {
			return // looks as on newer kernels, where such a device's packets begin with their IP header
		}
		p.check(t, frame, ethernet)
	})
}
