package forwarding

import (
	"bytes"
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// FuzzRule reads rules of policy routing, and asks each about packets.
func FuzzRule(f *testing.F) {
	header := func(action byte) []byte { return []byte{2, 24, 16, 0, 254, 0, 0, action, 0, 0, 0, 0} }
	attribute := func(kind int, value []byte) []byte { return nl.NewRtAttr(kind, value).Serialize() }
	for _, action := range []byte{unix.FR_ACT_TO_TBL, unix.FR_ACT_GOTO, unix.FR_ACT_NOP, unix.FR_ACT_BLACKHOLE, unix.FR_ACT_UNREACHABLE, unix.FR_ACT_PROHIBIT, 0, 255} {
		f.Add(bytes.Join([][]byte{
			header(action), attribute(unix.FRA_SRC, []byte{10, 0, 0, 0}), attribute(unix.FRA_DST, []byte{10, 1, 2, 0}),
			attribute(unix.FRA_IIFNAME, nl.ZeroTerminated("eth0")), attribute(unix.FRA_IP_PROTO, nil), attribute(unix.FRA_PRIORITY, nl.Uint32Attr(100)),
		}, nil))
	}
	f.Add(append(header(unix.FR_ACT_TO_TBL), attribute(unix.FRA_IIFNAME, []byte("eth0"))...)) // without the byte that ends it
	packet := Packet{Source: netip.MustParseAddr("10.0.0.1"), Destination: netip.MustParseAddr("10.1.2.3"), Device: "eth0"}
	f.Fuzz(func(_ *testing.T, message []byte) {
		if r, ok := parseRule(message); ok {
			r.matches(packet)
			r.usual()
			_ = r.String()
		}
	})
}
