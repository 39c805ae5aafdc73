package diagnose

import (
	"time"

	"tracer/internal/aggregate"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// Snapshot is what is known of a node at one time. Two of them make the window that is judged. What is left out is not
// known, and less is found then.
type Snapshot struct {
	Taken time.Time
	// Counts grow since tracing began; what is in flight is as scanned last.
	Counts *aggregate.Snapshot
	// Devices are those traced, with their qdiscs' counters as read now: the backlog tells which open journeys really
	// wait.
	Devices []netdev.Device
	Stats   record.Stats // what the kernel counts by itself

	// The rest does not belong to a window: that of its end is taken.

	// Events are changes of links, routes and qdiscs up to now, the oldest first.
	Events []netdev.Event
	// ActiveDevices are the devices that have carried packets of ours since tracing began.
	ActiveDevices map[string]bool
	// ExpectQdisc are the root qdiscs that are there on purpose, by device.
	ExpectQdisc map[string]string
	// Lookups are what the routing table says of packets that were lost lately in a place that means no route.
	Lookups []record.RouteLookup
	// Conntrack is what the connection table says of datagrams that nobody answers, where NAT gave them another destination.
	Conntrack []record.ConntrackEntry
	// Throttling are pods that their CPU limit holds back, of those that were looked at since something was found of them.
	Throttling []PodThrottling
	// Rulesets are netfilter's rules where it lost packets lately.
	Rulesets []Ruleset
	// Services are those that packets were lost to, as namespace/name, with their endpoints where these are known.
	Services map[string]record.ServiceEndpoints
	// DropsUnseen tells that losses on this node are not seen: what TCP sends again may have been lost here.
	DropsUnseen bool
	// Coverage is how much the hooks have seen since tracing began.
	Coverage []HookCoverage
	// Doubt is how many segments the node's own sockets have sent under addresses that were not known as the node's by then:
	// what came for these looks as if it were to go on, and does not.
	Doubt uint64
	// Tunnels are the overlay devices' ways to their other ends.
	Tunnels []netdev.Tunnel
	// NICs are what network cards and their drivers have counted.
	NICs []netdev.NIC
	// Peers are the other ends of WireGuard devices.
	Peers []netdev.Peer
	// MissingHooks are hooks that are planned and not attached.
	MissingHooks []MissingHook
	// Baseline is the usual p50 delay of a stage in seconds, where it was learnt.
	Baseline map[aggregate.StageKey]float64
	// PeerRTT are the usual round trips to other nodes in seconds, where they were learnt.
	PeerRTT map[PeerKey]float64
	// UsualRequests is how long requests usually take (p50) in seconds, where that was learnt: by who asks whom, without a direction.
	UsualRequests map[aggregate.PairKey]float64
}
