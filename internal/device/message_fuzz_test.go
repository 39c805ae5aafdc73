package device

import (
	"bytes"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"tracer/internal/netdev"
)

// FuzzMessage reads messages of rtnetlink about links, addresses, routes, qdiscs, classes and filters: none, however cut, can stop the
// tracer.
func FuzzMessage(f *testing.F) {
	attribute := func(kind int, value []byte) []byte { return nl.NewRtAttr(kind, value).Serialize() }
	of := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	name := attribute(unix.IFLA_IFNAME, nl.ZeroTerminated("vxlan.calico"))
	for _, kind := range []string{"veth", "vxlan", "geneve", "ipip", "vlan", "bridge", "wireguard", "bond"} {
		data := of(attribute(1, nl.Uint32Attr(7)), attribute(4, nl.Uint32Attr(1)), attribute(15, []byte{0x12, 0xb5}))
		info := of(attribute(nl.IFLA_INFO_KIND, nl.ZeroTerminated(kind)), attribute(nl.IFLA_INFO_DATA, data))
		f.Add(uint16(unix.RTM_NEWLINK), of(make([]byte, unix.SizeofIfInfomsg), name, attribute(unix.IFLA_LINKINFO, info), attribute(unix.IFLA_STATS64, make([]byte, 200))))
	}
	for _, kind := range []string{"htb", "tbf", "netem", "fq_codel", "codel", "fq", "cake", "pfifo", "bfifo", "sfq", "red", "mq", "noqueue", "ingress"} {
		stats := of(attribute(nl.TCA_STATS_BASIC, make([]byte, 16)), attribute(nl.TCA_STATS_QUEUE, make([]byte, 20)))
		f.Add(uint16(unix.RTM_NEWQDISC), of(make([]byte, tcmsgBytes), attribute(nl.TCA_KIND, nl.ZeroTerminated(kind)), attribute(nl.TCA_OPTIONS, make([]byte, 96)), attribute(nl.TCA_STATS2, stats)))
	}
	f.Add(uint16(unix.RTM_NEWROUTE), of([]byte{2, 16, 0, 0, 254, 3, 0, 6, 0, 0, 0, 0}, attribute(unix.RTA_DST, []byte{10, 2, 0, 0}), attribute(unix.RTA_OIF, nl.Uint32Attr(3))))
	f.Add(uint16(unix.RTM_NEWADDR), of([]byte{2, 24, 0, 0, 3, 0, 0, 0}, attribute(unix.IFA_LOCAL, []byte{10, 9, 0, 1})))
	action := of(attribute(nl.TCA_ACT_KIND, nl.ZeroTerminated("mirred")), attribute(nl.TCA_ACT_OPTIONS, attribute(nl.TCA_MIRRED_PARMS, make([]byte, 28))))
	f.Add(uint16(unix.RTM_NEWTFILTER), of(make([]byte, tcmsgBytes), attribute(nl.TCA_KIND, nl.ZeroTerminated("matchall")),
		attribute(nl.TCA_OPTIONS, attribute(nl.TCA_MATCHALL_ACT, attribute(1, action)))))
	f.Add(uint16(unix.RTM_NEWQDISC), qdiscMessage(2, 0x100000, parentRoot, "netem", netemOptions))
	f.Add(uint16(unix.RTM_NEWTCLASS), qdiscMessage(2, 0x100001, parentRoot, "htb", attr(1, words(0, 0, 1, 0, 0, 1, 1, 1))))
	f.Fuzz(func(_ *testing.T, kind uint16, message []byte) {
		var e events
		e.links = map[int]knownLink{0: {name: "eth0", role: netdev.RoleUplink, up: true}}
		e.message(syscall.NlMsghdr{Type: kind}, message, time.Unix(1, 0))
		isRelevant(kind, message)
		l, _ := parseLink(message)
		parseErrors(l.statistics)
		l.peerNetns()
		l.bareIP()
		parseAddress(message)
		parseDefaultRoute(message)
		isDefaultRoute(message)
		q, _ := parseNode(message, false)
		c, _ := parseNode(message, true)
		root := newState([]link{l}, []node{q}, []node{c}).Devices[0].Root
		_, _ = root.String(), root.Brief()
		parseRedirects(message)
		parsePolicer(message)
	})
}
