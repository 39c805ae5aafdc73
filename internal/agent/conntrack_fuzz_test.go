package agent

import (
	"testing"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tracer/internal/record"
)

// FuzzConntrackEntry reads answers of the connection table.
func FuzzConntrackEntry(f *testing.F) {
	reply := nl.NewRtAttr(unix.NLA_F_NESTED|ctReply, nil)
	ip := reply.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_IP, nil)
	ip.AddRtAttr(nl.CTA_IP_V4_SRC, []byte{10, 244, 1, 2})
	proto := reply.AddRtAttr(unix.NLA_F_NESTED|nl.CTA_TUPLE_PROTO, nil)
	proto.AddRtAttr(nl.CTA_PROTO_SRC_PORT, []byte{0, 80})
	status := nl.NewRtAttr(ctStatus, []byte{0, 0, 0, ctAssured})
	f.Add(append(append(make([]byte, nl.SizeofNfgenmsg), reply.Serialize()...), status.Serialize()...))
	f.Add(make([]byte, 3))
	f.Fuzz(func(t *testing.T, answer []byte) {
		flow := record.ConntrackFlow{Protocol: 6}
		if e, err := parseConntrackEntry(flow, answer); err == nil && e.ConntrackFlow != flow {
			t.Errorf("it is of another flow: %+v", e)
		}
	})
}
