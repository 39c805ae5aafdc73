package loader

import (
	"bytes"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
	"tracer/internal/header"
	"tracer/internal/record"
)

// captured is what the kernel writes of a packet.
func captured(hook bpfobj.TracerHook, ifindex uint32, at time.Duration, packet []byte) []byte {
	k := bpfobj.TracerCaptured{TimeNs: uint64(at), Ifindex: ifindex, Length: uint32(len(packet)), Hook: uint8(hook)}
	for i := range k.Bytes {
		k.Bytes[i] = 0xee // what stood in the ring before
	}
	k.Size = uint16(copy(k.Bytes[:], packet))
	return bytes.Clone(unsafe.Slice((*byte)(unsafe.Pointer(&k)), unsafe.Sizeof(k)))
}

func TestConvertCaptured(t *testing.T) {
	t.Parallel()
	secret := bytes.Repeat([]byte("secret"), 100)
	inner := join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: unix.IPPROTO_TCP, id: 7}.over(tcp(4000, 80, 1000, string(secret))))
	tunnels := header.Tunnels{VXLAN: []uint16{4789}}
	for name, test := range map[string]struct {
		packet []byte
		want   int // bytes of headers; 0: none
	}{
		"tcp":            {ipv4{src: pod1, dst: pod2, protocol: unix.IPPROTO_TCP}.over(tcp(4000, 80, 1000, string(secret))), 40},
		"udp":            {ipv4{src: pod1, dst: pod2, protocol: unix.IPPROTO_UDP}.over(udp(4000, 53, secret)), 28},
		"udp on ipv6":    {ipv6("fd00::1", "fd00::2", unix.IPPROTO_UDP, udp(4000, 53, secret)), 48},
		"unknown":        {ipv4{src: pod1, dst: pod2, protocol: unix.IPPROTO_ESP}.over(secret), 20},
		"later fragment": {ipv4{src: pod1, dst: pod2, protocol: unix.IPPROTO_UDP, fragment: 100}.over(secret), 20},
		"in vxlan":       {ipv4{src: node1, dst: node2, protocol: unix.IPPROTO_UDP}.over(udp(555, 4789, vxlan(inner))), 20 + 8 + 8 + 14 + 40},
		"other port":     {ipv4{src: node1, dst: node2, protocol: unix.IPPROTO_UDP}.over(udp(555, 4790, vxlan(inner))), 28},
		"no IP":          {secret, 0},
		"cut in IP":      {ipv4{src: pod1, dst: pod2, protocol: unix.IPPROTO_TCP}.over(tcp(1, 2, 3, ""))[:19], 0},
	} {
		h, fingerprint, ok := convertCaptured(captured(bpfobj.TracerHookHOOK_FREE, 0, time.Second, test.packet), tunnels)
		if ok != (test.want > 0) || len(h.Bytes) != test.want {
			t.Errorf("%s: %d bytes, %v; want %d", name, len(h.Bytes), ok, test.want)
		}
		if ok && (fingerprint == 0 || h.Length != uint32(len(test.packet)) || !bytes.Equal(h.Bytes, test.packet[:test.want]) || h.Hook != record.Free || h.Time != time.Second) {
			t.Errorf("%s: %+v, %x", name, h, fingerprint)
		}
	}
	if _, _, ok := convertCaptured(make([]byte, 10), tunnels); ok {
		t.Error("a short record was taken")
	}
}

func TestChooseHeader(t *testing.T) {
	t.Parallel()
	c := &Capture{found: map[uint64][]capturedHeader{}, order: make([]uint64, 7)}
	packet := func(id uint16) []byte {
		return ipv4{src: pod1, dst: pod2, protocol: unix.IPPROTO_TCP, id: id}.over(tcp(4000, 80, 1000, "hello, world"))
	}
	of := func(kind record.Kind, id uint16, at time.Duration, hops ...record.Hop) *record.Record {
		h, fingerprint, ok := convertCaptured(captured(bpfobj.TracerHookHOOK_FREE, 0, 0, packet(id)), header.Tunnels{})
		if !ok {
			t.Fatal("the packet makes no sense")
		}
		r := &record.Record{Kind: kind, First: h.flow, Last: h.flow, Fingerprint: fingerprint, Time: at}
		r.Len = copy(r.Hops[:], hops)
		return r
	}
	const ms = time.Millisecond
	find := func(r *record.Record, ifindex int) (time.Duration, bool) {
		h, ok := choose(c.found[r.Fingerprint], r, ifindex)
		return h.Time, ok
	}
	c.keep(captured(bpfobj.TracerHookHOOK_DEQUEUE, 7, 20*ms, packet(1)))
	c.keep(captured(bpfobj.TracerHookHOOK_XMIT, 2, 30*ms, packet(1)))
	c.keep(captured(bpfobj.TracerHookHOOK_FREE, 0, 41*ms, packet(2)))
	// The same question of three clients to three servers, as resolvers ask it.
	question := func(src, dst string) []byte {
		return ipv4{src: src, dst: dst, protocol: unix.IPPROTO_UDP}.over(udp(4000, 53, []byte("example.com")))
	}
	lost := func(src, dst string, at time.Duration) *record.Record {
		h, fingerprint, _ := convertCaptured(captured(bpfobj.TracerHookHOOK_FREE, 0, 0, question(src, dst)), header.Tunnels{})
		return &record.Record{Kind: record.Dropped, First: h.flow, Last: h.flow, Fingerprint: fingerprint, Time: at}
	}
	for i, pair := range [][2]string{{pod1, pod2}, {node1, pod2}, {pod1, node2}} {
		c.keep(captured(bpfobj.TracerHookHOOK_FREE, 0, time.Duration(61+i)*ms, question(pair[0], pair[1])))
	}
	translated := lost(pod1, node1, 60*ms) // as it came; it was freed with another destination
	translated.Last = lost(pod1, node2, 0).Last
	slow := of(record.Finished, 1, 30*ms, record.Hop{Hook: record.Dequeue, Ifindex: 7, Time: 20 * ms}, record.Hop{Hook: record.Xmit, Ifindex: 2, Time: 30 * ms})
	for _, test := range []struct {
		r       *record.Record
		ifindex int
		want    time.Duration
		found   bool
	}{
		{slow, 7, 20 * ms, true},
		{slow, 2, 30 * ms, true},
		{slow, 0, 30 * ms, true}, // where it was read last
		{of(record.Finished, 1, 30*ms, record.Hop{Hook: record.Xmit, Ifindex: 2, Time: 29 * ms}), 0, 0, false}, // another of the same fingerprint
		{of(record.Dropped, 1, 19*ms), 0, 0, false},
		{of(record.Dropped, 2, 40*ms), 0, 41 * ms, true},
		{of(record.Dropped, 2, 42*ms), 0, 0, false}, // one before
		{of(record.Dropped, 3, 40*ms), 0, 0, false},
		{lost(pod1, pod2, 60*ms), 0, 61 * ms, true},
		{lost(node1, pod2, 60*ms), 0, 62 * ms, true},
		{translated, 0, 63 * ms, true},
		{lost(node2, pod1, 60*ms), 0, 0, false}, // its own was not read
	} {
		if at, ok := find(test.r, test.ifindex); ok != test.found || at != test.want {
			t.Errorf("%s at %d: %v, %v; want %v", test.r.Kind, test.ifindex, at, ok, test.want)
		}
	}
	// The oldest make room.
	c.keep(captured(bpfobj.TracerHookHOOK_FREE, 0, 50*ms, packet(4)))
	c.keep(captured(bpfobj.TracerHookHOOK_FREE, 0, 51*ms, packet(5)))
	if at, ok := find(slow, 7); !ok || at != 30*ms {
		t.Errorf("%v, %v", at, ok)
	}
	c.keep(captured(bpfobj.TracerHookHOOK_FREE, 0, 52*ms, packet(6)))
	if _, ok := find(slow, 7); ok || len(c.found) != 5 {
		t.Errorf("%v, %d kept", ok, len(c.found))
	}
}
