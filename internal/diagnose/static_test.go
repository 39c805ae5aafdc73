package diagnose

import (
	"strings"
	"testing"
	"time"

	"tracer/internal/netdev"
	"tracer/internal/record"
)

func TestStatic(t *testing.T) {
	t.Parallel()
	from, to := Snapshot{Taken: noon}, Snapshot{Taken: noon.Add(time.Second)}
	from.Stats.Protocols = map[string]uint64{"IpFragCreates": 5}
	to.Stats = record.Stats{Protocols: map[string]uint64{"IpFragCreates": 45}}
	to.Devices = []netdev.Device{
		{Index: 1, Name: "eth0", Role: netdev.RoleUplink, Up: true, Leaves: true, MTU: 900, Root: netdev.Qdisc{Kind: "fq_codel"}},
		{Index: 2, Name: "vxlan.calico", Role: netdev.RoleOverlay, Up: true, MTU: 1450, Kind: "vxlan", Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: 3, Name: "cali1", Role: netdev.RolePod, Up: true, MTU: 1500, Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: 4, Name: "cali2", Role: netdev.RolePod, Up: true, MTU: 1480, Root: netdev.Qdisc{Kind: "noqueue"}},
		{Index: 5, Name: "cali3", Role: netdev.RolePod, Up: true, MTU: 1400, Root: netdev.Qdisc{Kind: "noqueue"}},
	}
	to.Tunnels = []netdev.Tunnel{{Device: "vxlan.calico", Largest: 1450, Header: 50, Uplink: "eth0", MTU: 900}}
	from.Devices = to.Devices
	want := []string{
		"the MTU of eth0 is too small for vxlan.calico: 900 bytes, of the 1,500 that the largest packets have with their header",
		"the MTU of cali1 and of 1 more pod is up to 1,500, and vxlan.calico takes 1,450",
		"the kernel makes 40 fragments a second",
	}
	var got []string
	for _, f := range Static(from, to) {
		got = append(got, f.Sentence())
		if f.Cause != MTU || f.Severity != Warning || len(f.Evidence) == 0 || len(f.Next) == 0 {
			t.Errorf("%+v", f)
		}
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	to.Tunnels, to.Stats = nil, record.Stats{}
	if found := Static(from, to); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}
