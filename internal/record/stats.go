package record

// Stats are the kernel's counters of a network namespace and its machine, since either began. What could not be read is nil.
type Stats struct {
	Softnet   *Softnet   `json:"softnet"`
	Conntrack *Conntrack `json:"conntrack"`
	// Queues are netfilter's queues to user space that somebody listens at.
	Queues []NFQueue `json:"queues,omitempty"`
	// Protocols are IP's counters by the names that nstat uses ("IpFragFails", "TcpExtIPReversePathFilter"), without
	// those that are 0.
	Protocols map[string]uint64 `json:"protocols"`
}

// Softnet is what the receiving softirqs count, for all CPUs and namespaces (/proc/net/softnet_stat).
type Softnet struct {
	Processed   uint64 `json:"processed"`
	Dropped     uint64 `json:"dropped"`      // the backlog of a CPU was full
	TimeSqueeze uint64 `json:"time_squeeze"` // the budget ran out with work left
}

// Conntrack is what this namespace's connection table counts (/proc/net/stat/nf_conntrack).
type Conntrack struct {
	Entries      uint64 `json:"entries"` // now
	Max          uint64 `json:"max"`     // how many there may be; 0 if unknown
	InsertFailed uint64 `json:"insert_failed"`
	Drop         uint64 `json:"drop"` // packets for which no entry could be made
	EarlyDrop    uint64 `json:"early_drop"`
}
