package record

import "net/netip"

// RouteLookup is the routing table's answer for the destination of packets that were dropped.
type RouteLookup struct {
	Destination netip.Addr `json:"destination"`
	Result      string     `json:"says"` // "blackhole", "unreachable" …
}
