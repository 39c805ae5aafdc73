package record

import (
	"net/netip"
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

// RouteLookup is what the routing table says of a destination that packets did not get to.
type RouteLookup struct {
	Destination netip.Addr `json:"destination"`
	Result      string     `json:"says"` // "blackhole", "unreachable" …
}
