package loader

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"tracer/internal/bpfobj"
)

// TestSegments sends large packets whose sender says how long their segments are and, at times, not how many, as virtio, tun
// and packet sockets do.
func TestSegments(t *testing.T) {
	t.Parallel()
	k := newKernel(t, bpfobj.TracerConfig{VxlanPort: [8]uint16{hostOrder(4789)}})
	const size, n = 300, 10
	payload := strings.Repeat("x", size*n)
	withOptions := func(payload string) []byte { // as nearly all TCP has: time stamps
		segment := tcp(4000, 80, 1, payload)
		segment[12] = 8 << 4
		return slices.Insert(segment, 20, make([]byte, 12)...)
	}
	v4 := func(protocol uint8, segment []byte) []byte {
		return join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: protocol}.over(segment))
	}
	v6 := func(protocol uint8, segment []byte) []byte {
		return join(ethernet(unix.ETH_P_IPV6), ipv6("fd00::1", "fd00::2", protocol, segment))
	}
	const isTCP, isUDP = unix.IPPROTO_TCP, unix.IPPROTO_UDP
	plain := v4(isTCP, tcp(4000, 80, 1, payload))
	for _, test := range []struct {
		name       string
		packet     []byte
		segs, size uint32
		want       uint32
	}{
		{"no GSO", plain, 0, 0, 1},
		{"numbered", plain, 4, size, 4},
		{"tcp", plain, 0, size, n},
		{"tcp with options", v4(isTCP, withOptions(payload)), 0, size, n},
		{"a byte more", v4(isTCP, withOptions(payload+"x")), 0, size, n + 1},
		{"a byte less", v4(isTCP, withOptions(payload[1:])), 0, size, n},
		{"udp", v4(isUDP, udp(4000, 53, []byte(payload))), 0, size, n},
		{"tcp on ipv6", v6(isTCP, withOptions(payload)), 0, size, n},
		{"udp on ipv6", v6(isUDP, udp(4000, 53, []byte(payload))), 0, size, n},
		{"in vxlan", v4(isUDP, udp(555, 4789, vxlan(v4(isTCP, withOptions(payload))))), 0, size, n},
		{"behind ip options", join(ethernet(unix.ETH_P_IP), ipv4{src: pod1, dst: pod2, protocol: isTCP, options: []byte{1, 1, 1, 0}}.
			over(withOptions(payload[4:]))), 0, size, n},
		{"no payload", v4(isTCP, withOptions("")), 0, size, 1},
		{"a lie", plain, 0, 1, size * n},
	} {
		k.each(test.name, func(k *kernel) {
			k.passAs(k.inL2, test.packet, skb{GSOSegs: test.segs, GSOSize: test.size})
			open := k.open()
			if len(open) != 1 || open[0].Segments != test.want {
				k.Errorf("open journeys %+v, want one of %d segments", open, test.want)
			}
		})
	}
}
