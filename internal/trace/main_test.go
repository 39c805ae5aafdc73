package trace

import (
	"net/netip"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

// names is a Namer from a fixed list.
type names map[netip.Addr]aggregate.Identity

func (n names) Lookup(a netip.Addr, _ time.Duration) aggregate.Identity { return n[a] }

var cluster = names{
	netip.MustParseAddr("10.244.1.2"): {Namespace: "default", Pod: "web-1", Workload: "web", Node: "node-1"},
	netip.MustParseAddr("10.244.2.3"): {Namespace: "default", Pod: "api-1", Workload: "api", Node: "node-2"},
	netip.MustParseAddr("10.96.0.10"): {Namespace: "default", Service: "api"},
}

func testDevices() []netdev.Device {
	fifo := netdev.Qdisc{Kind: "pfifo_fast", Handle: "0:"}
	return []netdev.Device{
		{Index: 4, Name: "cali1", Role: netdev.RolePod, Lowest: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: 7, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "netem", Handle: "10:"}},
		{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Lowest: true, Up: true, Root: fifo},
	}
}
