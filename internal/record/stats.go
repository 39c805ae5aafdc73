package record

// Stats are the kernel's counters of a network namespace and its machine, since either began. What could not be read is nil.
type Stats struct {
	Softnet   *Softnet   `json:"softnet"`
	Conntrack *Conntrack `json:"conntrack"`
	// Queues are netfilter's queues to user space that somebody listens at.
	Queues []NFQueue `json:"queues,omitempty"`
	// Protocols are IP's counters by the names that nstat uses ("IpFragFails", "TcpExtIPReversePathFilter"), and IPsec's by those
	// of /proc/net/xfrm_stat ("XfrmInNoStates"), without those that are 0.
	Protocols map[string]uint64 `json:"protocols"`
	// CPUs are where the time of the machine's CPUs went, in order; nil where it could not be read.
	CPUs []CPUTime `json:"cpus"`
	// Throttling is how tracer's own cgroup was held back by its limit; nil without one.
	Throttling *Throttling `json:"throttling"`
}

// CPUTime is where the time of one CPU went since the start of the machine, in clock ticks (/proc/stat).
type CPUTime struct {
	All     uint64 `json:"all"`
	Idle    uint64 `json:"idle"` // waiting for disks included
	Softirq uint64 `json:"softirq"`
	Steal   uint64 `json:"steal"` // the hypervisor ran others
}

// Throttling is how a cgroup was held back by its CPU limit, since it began (cpu.stat).
type Throttling struct {
	Periods   uint64  `json:"periods"`   // that it wanted to run in
	Throttled uint64  `json:"throttled"` // of those, in which it had used up its quota
	Seconds   float64 `json:"seconds"`   // for which its threads had to wait, all together
}

// Since is what was added after old.
func (t Throttling) Since(old Throttling) Throttling {
	return Throttling{
		Periods:   t.Periods - min(t.Periods, old.Periods),
		Throttled: t.Throttled - min(t.Throttled, old.Throttled),
		Seconds:   max(0, t.Seconds-old.Seconds),
	}
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
