package truth

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
)

// dropPort is the destination port of the packets that are dropped.
const dropPort = 6999

// dropScenario makes the first node drop a pod's packets when it forwards them.
type dropScenario struct {
	name     string
	do, undo []string // in the node; DEVICE is the sender's there, ADDRESS where it sends to, OVERLAY the way there with its MTU
	source   netip.Addr
	ttl      int
	size     int      // of the datagrams' contents
	reasons  []string // of kernels that have one for it; none: they say nothing of it
}

var spoofed = netip.MustParseAddr("10.99.0.1")

var dropScenarios = []dropScenario{
	{
		name: "iptables: DROP in FORWARD", reasons: []string{"NETFILTER_DROP"},
		do:   []string{"iptables -w -I FORWARD -p udp --dport 6999 -j DROP"},
		undo: []string{"iptables -w -D FORWARD -p udp --dport 6999 -j DROP"},
	},
	{
		name: "nft: drop in forward", reasons: []string{"NETFILTER_DROP"},
		do: []string{
			"nft add table inet truth",
			"nft add chain inet truth forward { type filter hook forward priority 0 ; }",
			"nft add rule inet truth forward udp dport 6999 drop",
		},
		undo: []string{"nft delete table inet truth"},
	},
	{
		name: "blackhole route", reasons: []string{"NOT_SPECIFIED", "IP_INNOROUTES", "IP_IN_NO_ROUTES", "IP_INADDRERRORS"},
		do:   []string{"ip route add blackhole ADDRESS/32"},
		undo: []string{"ip route del blackhole ADDRESS/32"},
	},
	{
		name: "TTL 1", reasons: []string{"IP_INHDR", "NOT_SPECIFIED", "IP_TTL_EXCEEDED", "ICMP_TIME_EXCEEDED"}, ttl: 1,
	},
	{
		// No less than IPv6 needs, or the device loses its addresses.
		name: "MTU made smaller", reasons: []string{"PKT_TOO_BIG"}, size: 1350,
		do:   []string{"ip link set OVERLAY mtu 1280"},
		undo: []string{"ip link set OVERLAY mtu MTU"},
	},
	{
		name: "rp_filter", reasons: []string{"IP_RPFILTER"}, source: spoofed,
		do:   []string{"sysctl -qw net.ipv4.conf.DEVICE.rp_filter=1"},
		undo: []string{"sysctl -qw net.ipv4.conf.DEVICE.rp_filter=0"},
	},
}

func (s dropScenario) play(r *rig) {
	const packets = 10
	w := r.pairs[0]
	to := w.server.Addr()
	if s.name == "blackhole route" {
		to = netip.MustParseAddr("10.244.2.99") // nobody's, so that nobody else is cut off
	}
	if s.source.IsValid() {
		address := fmt.Sprintf("%s/32 dev lo", s.source)
		r.ip(w.from.Netns, "addr add "+address)
		r.Cleanup(func() { r.ip(w.from.Netns, "addr del "+address) })
	}
	mtu := r.device(r.lab.Node(1).Netns, w.overlay).MTU
	fill := func(commands []string) {
		for _, c := range commands {
			r.inNode(0, replace(c, map[string]string{
				"DEVICE": w.from.Device, "ADDRESS": to.String(), "OVERLAY": w.overlay, "MTU": strconv.Itoa(mtu),
			}))
		}
	}
	r.awaitDrops()
	before := r.otherDrops(0)
	fill(s.do)
	r.Cleanup(func() { fill(s.undo) })
	d := datagrams{source: s.source, to: netip.AddrPortFrom(to, dropPort), ttl: s.ttl, size: max(s.size, 32), n: packets}
	if err := sendTo(w, d); err != nil {
		r.Fatal(err)
	}
	var told aggregate.DropKey
	r.eventually(20*time.Second, "the drops", func() (bool, string) {
		var n uint64
		for key, count := range r.otherDrops(0) {
			if d := count - before[key]; d > 0 && key.Stage == journey.Forward && key.Device == netdev.PodLabel {
				n, told = n+d, key
			}
		}
		return n == packets, fmt.Sprintf("%d of %d counted: %v", n, packets, r.otherDrops(0))
	})
	if told.Reason != journey.NotSpecified && !slices.Contains(s.reasons, told.Reason) {
		r.Errorf("the reason is %s (at %s), want one of %v", told.Reason, told.Location, s.reasons)
	}
	if told.Location == "" || told.Direction != journey.Out {
		r.Errorf("dropped %q at %q, want a location on the way out", told.Direction, told.Location)
	}
	// Kernel and scenario; reason, stage and place.
	fmt.Printf("drop\t%s\t%s\t%s\t%s\t%s\n", r.kernel, s.name, told.Reason, told.Stage, told.Location)
}

// otherDrops are the losses outside of queues.
func (r *rig) otherDrops(node int) map[aggregate.DropKey]uint64 {
	r.Helper()
	drops := map[aggregate.DropKey]uint64{}
	for _, d := range r.now(node).Counts.Drops {
		if d.Stage != journey.Queue && d.Loss {
			drops[d.DropKey] += d.Packets
		}
	}
	return drops
}

// datagrams are some that a pod sends: from an address other than its own, with a TTL, if these are given. They are not
// to be fragmented, whatever the pod has heard of the way.
type datagrams struct {
	source netip.Addr
	to     netip.AddrPort
	ttl    int
	size   int
	n      int
}

// sendTo sends datagrams from a way's pod.
func sendTo(w *podPair, what datagrams) error {
	return w.from.Do(func() error {
		d := net.Dialer{}
		if what.source.IsValid() {
			d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(what.source, 0))
		}
		conn, err := d.Dial("udp", what.to.String())
		if err != nil {
			return err
		}
		defer conn.Close()
		raw, err := conn.(*net.UDPConn).SyscallConn()
		if err != nil {
			return err
		}
		var set error
		err = raw.Control(func(fd uintptr) {
			set = unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_PROBE)
			if what.ttl > 0 {
				set = errors.Join(set, unix.SetsockoptInt(int(fd), unix.IPPROTO_IP, unix.IP_TTL, what.ttl))
			}
		})
		if err = errors.Join(err, set); err != nil {
			return err
		}
		contents := make([]byte, what.size)
		for sent := 0; sent < what.n; {
			// An ICMP error that came back for an earlier one is returned in place of sending.
			if _, err := conn.Write(contents); err == nil {
				sent++
			} else if !slices.ContainsFunc(icmpErrors, func(e error) bool { return errors.Is(err, e) }) {
				return err
			}
		}
		return nil
	})
}

// icmpErrors are ICMP errors as a socket returns them.
var icmpErrors = []error{unix.EHOSTUNREACH, unix.ENETUNREACH, unix.ECONNREFUSED, unix.EMSGSIZE}
