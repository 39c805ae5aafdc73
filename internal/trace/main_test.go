package trace

import (
	"time"

	"tracer/internal/netdev"
	"tracer/internal/trace/tracetest"
)

var noon = time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)

var cluster = tracetest.Cluster()

func testDevices() []netdev.Device {
	fifo := netdev.Qdisc{Kind: "pfifo_fast", Handle: "0:"}
	return []netdev.Device{
		{Index: 4, Name: "cali1", Role: netdev.RolePod, Leaves: true, Up: true, Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: 7, Name: "tunl0", Role: netdev.RoleOverlay, Up: true, Root: netdev.Qdisc{Kind: "netem", Handle: "10:"}},
		{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Leaves: true, Up: true, Root: fifo},
	}
}
