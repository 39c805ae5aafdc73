package agent

import (
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// FuzzConntrackEntry reads answers of the connection table.
func FuzzConntrackEntry(f *testing.F) {
	status := nl.NewRtAttr(ctStatus, []byte{0, 0, 0, ctAssured})
	for _, tuple := range []int{nl.CTA_TUPLE_ORIG, nl.CTA_TUPLE_REPLY} {
		addresses := nl.NewRtAttr(unix.NLA_F_NESTED|tuple, nil)
		ip := addresses.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
		ip.AddRtAttr(nl.CTA_IP_V4_SRC, []byte{10, 244, 1, 2})
		proto := addresses.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
		proto.AddRtAttr(nl.CTA_PROTO_SRC_PORT, []byte{0, 80})
		f.Add(append(append(make([]byte, nl.SizeofNfgenmsg), addresses.Serialize()...), status.Serialize()...))
	}
	f.Add(make([]byte, 3))
	f.Fuzz(func(t *testing.T, answer []byte) {
		if e, err := parseConntrackEntry(record.ProtocolTCP, answer); err == nil && e.Protocol != record.ProtocolTCP {
			t.Errorf("it is of another protocol: %+v", e)
		}
	})
}
