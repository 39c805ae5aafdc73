package record

import (
	"net/netip"
	"time"
)

// Stats are what a network namespace and its machine have counted since they are there. What could not be read is nil.
type Stats struct {
	Softnet   *Softnet   `json:"softnet"`
	Conntrack *Conntrack `json:"conntrack"`
	// Protocols are IP's counters by the name that nstat gives them: "IpFragFails", "TcpExtIPReversePathFilter". Those that are
	// 0 are left out.
	Protocols map[string]uint64 `json:"protocols"`
}

// Softnet is what softirqs count as they take packets in, of all CPUs and namespaces (/proc/net/softnet_stat).
type Softnet struct {
	Processed   uint64 `json:"processed"`
	Dropped     uint64 `json:"dropped"`      // the backlog of a CPU was full
	TimeSqueeze uint64 `json:"time_squeeze"` // the budget ran out with work left
}

// Conntrack is what this namespace's connection table counts (/proc/net/stat/nf_conntrack).
type Conntrack struct {
	Entries      uint64 `json:"entries"` // at the moment
	Max          uint64 `json:"max"`     // it may hold; 0 if unknown
	InsertFailed uint64 `json:"insert_failed"`
	Drop         uint64 `json:"drop"` // packets for which there was no entry to be had
	EarlyDrop    uint64 `json:"early_drop"`
}

// EventKind is what an Event is about.
type EventKind string

// The kinds of events.
const (
	LinkEvent  EventKind = "link"
	QdiscEvent EventKind = "qdisc"
	MTUEvent   EventKind = "mtu"
	RouteEvent EventKind = "route"
)

// Event is a change of the namespace that may explain what packets meet.
type Event struct {
	Time   time.Time `json:"time"` // when it was announced, or seen
	Kind   EventKind `json:"kind"`
	Device string    `json:"device,omitempty"`
	Role   Role      `json:"role"`
	// Down tells of a link that it went down or away, of a route that it was removed.
	Down bool   `json:"down,omitempty"`
	Text string `json:"text"` // what happened: "went down", "route 10.2.0.0/16 removed"
}

// Lookup is what the routing table says of a destination that packets did not get to.
type Lookup struct {
	Destination netip.Addr `json:"destination"`
	Says        string     `json:"says"` // "blackhole", "unreachable" …
}
