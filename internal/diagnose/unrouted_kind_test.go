package diagnose

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// TestUnroutedMixed tells apart faults for which the kernel has one reason at one place, with the packets and the pairs of each.
func TestUnroutedMixed(t *testing.T) {
	t.Parallel()
	addr := netip.MustParseAddr
	down := record.RouteLookup{Destination: addr("10.2.0.7"), Device: "eth0", NextHop: addr("10.2.0.7"), Out: "cali1", OutIsPod: true, OutState: "without a carrier", PeerDown: true}
	dead := record.RouteLookup{Destination: addr("10.3.0.9"), Device: "cali2", NextHop: addr("172.30.0.12"), Out: "eth0", Neighbour: "FAILED"}
	node := record.RouteLookup{Destination: addr("172.30.0.12"), Device: "cali2", NextHop: addr("172.30.0.12"), Out: "eth0", Neighbour: "FAILED"}
	other := record.RouteLookup{Destination: addr("10.4.0.9"), Device: "cali2", NextHop: addr("172.30.0.13"), Out: "eth0", Neighbour: "FAILED"}
	scan := func(n byte) record.RouteLookup {
		to := netip.AddrFrom4([4]byte{172, 30, 0, n})
		return record.RouteLookup{Destination: to, Device: "cali2", NextHop: to, Out: "eth0", Neighbour: "FAILED"}
	}
	unknown := aggregate.StageKey{Stage: journey.Unknown}
	in := aggregate.StageKey{Stage: journey.Forward, Device: "eth0", Direction: journey.In}
	out := aggregate.StageKey{Stage: journey.Forward, Device: netdev.PodLabel, Direction: journey.Out}
	type lost struct {
		to, destination string // the latter "" where it is not known
		at              aggregate.StageKey
		packets         uint64
	}
	for name, test := range map[string]struct {
		lost []lost
		said []record.RouteLookup
		want []string // findings: cause, packets, pairs, subject
	}{
		"a pod's eth0 and a node": {
			lost: []lost{{"default/api", "10.2.0.7", unknown, 60}, {"default/db", "10.3.0.9", unknown, 40}}, said: []record.RouteLookup{down, dead},
			want: []string{
				"link-down 60 default/api: the pod's device cali1", "neighbour 40 default/db: the next hop 172.30.0.12 at eth0",
			},
		},
		"likewise, of one workload": { // as much as the look-ups say
			lost: []lost{{"default/api", "", unknown, 100}}, said: []record.RouteLookup{down, dead},
			want: []string{"link-down 50 default/api: the pod's device cali1", "neighbour 50 default/api: the next hop 172.30.0.12 at eth0"},
		},
		"by the device": {
			lost: []lost{{"default/api", "", in, 60}, {"default/db", "", out, 40}}, said: []record.RouteLookup{down, dead},
			want: []string{"link-down 60 default/api: the pod's device cali1", "neighbour 40 default/db: the next hop 172.30.0.12 at eth0"},
		},
		"two nodes": {
			lost: []lost{{"default/api", "10.4.0.9", unknown, 60}, {"default/db", "10.3.0.9", unknown, 40}}, said: []record.RouteLookup{other, dead},
			want: []string{"neighbour 60 default/api: the next hop 172.30.0.13 at eth0", "neighbour 40 default/db: the next hop 172.30.0.12 at eth0"},
		},
		"a node, and pods of it": {
			lost: []lost{{"default/api", "172.30.0.12", unknown, 60}, {"default/db", "10.3.0.9", unknown, 40}}, said: []record.RouteLookup{node, dead},
			want: []string{"neighbour 100 default/api default/db: the next hop 172.30.0.12 at eth0"},
		},
		"a scan": {
			lost: []lost{{aggregate.ExternalWorkload, "172.30.0.99", unknown, 90}}, said: []record.RouteLookup{scan(97), scan(98), scan(99)},
			want: []string{"neighbour 90 _external: the next hop 172.30.0.97 at eth0"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var counts aggregate.Snapshot
			for _, l := range test.lost {
				d := aggregate.DropCount{DropKey: aggregate.DropKey{StageKey: l.at, Reason: "NEIGH_FAILED", Location: "neigh_invalidate", Loss: true}, Packets: l.packets}
				at := slices.IndexFunc(counts.Drops, func(all aggregate.DropCount) bool { return all.DropKey == d.DropKey })
				if at < 0 {
					counts.Drops = append(counts.Drops, d)
				} else {
					counts.Drops[at].Packets += d.Packets
				}
				p := aggregate.Pair{PairKey: key("default/web", l.to, journey.Out), Drops: []aggregate.DropCount{d}}
				if l.destination != "" {
					p.Dropped = &aggregate.Ends{Destination: netip.AddrPortFrom(addr(l.destination), 80)}
				}
				counts.Pairs = append(counts.Pairs, p)
			}
			said := slices.Clone(test.said)
			for i := range said {
				said[i].Reason, said[i].Location, said[i].Packets = "NEIGH_FAILED", "neigh_invalidate", 16
			}
			e := &snapshots{from: Snapshot{Taken: noon}, to: Snapshot{
				Taken: noon.Add(15 * time.Second), Counts: &counts, Lookups: said,
				Devices: []netdev.Device{
					{Index: 2, Name: "eth0", Role: netdev.RoleUplink, Up: true}, {Index: 3, Name: "cali1", Role: netdev.RolePod, Up: true},
					{Index: 4, Name: "cali2", Role: netdev.RolePod, Up: true},
				},
			}}
			var got []string
			for _, f := range e.diagnose().Findings {
				pairs := ""
				for _, p := range f.Pairs {
					pairs += " " + p.Dst
				}
				got = append(got, fmt.Sprintf("%s %d%s: %s", f.Cause, f.Drops.Packets, pairs, f.subject))
			}
			if !slices.EqualFunc(got, test.want, strings.HasPrefix) {
				t.Errorf("got %q,\nwant %q", got, test.want)
			}
		})
	}
}
