package api

import (
	"time"

	"tracer/internal/netdev"
)

// Status is what an agent says about itself.
type Status struct {
	Version string        `json:"version"`
	Node    string        `json:"node"`
	Kernel  string        `json:"kernel"` // uname -r
	Netns   uint64        `json:"netns"`  // inode of the network namespace that is traced
	Started time.Time     `json:"started"`
	Hooks   []HookStatus  `json:"hooks"`
	Omitted []OmittedHook `json:"omitted"`
	// Reattached counts how often hooks were attached again, since others had removed them or put a program before them.
	Reattached []ReattachedHook `json:"hooks_reattached"`
	// Journeys counts journeys by outcome since the start: finished, split, dropped; and what became of the others:
	// unsampled, collision, expired, mismatch, torn, orphan, vanished_ingress …, malformed, too_deep.
	Journeys map[string]uint64 `json:"journeys"`
	// Lost counts the records that were missed: made, and not read for want of room in the ring buffer. By kind: journey,
	// drop, split.
	Lost map[string]uint64 `json:"lost"`
	// SampleRatio is the share of packets that were tracked since the start, 0 to 1.
	SampleRatio float64 `json:"sample_ratio"`
	// SampleOneIn and SampleBudget are the sampling in force: in each 0.1 s SampleBudget packets of each flow are tracked,
	// and of those beyond one in SampleOneIn; if that is 1, all are.
	SampleOneIn  uint32 `json:"sample_one_in"`
	SampleBudget uint32 `json:"sample_budget"`
	// SampleShared tells whether the agent knows the key by which others choose the same packets.
	SampleShared bool `json:"sample_shared"`
	// WatchedOneIn is of how many connections one has its requests timed; 1 if all have.
	WatchedOneIn uint64 `json:"watched_one_in"`
	// LeftOut counts, by reason, connections of which no request is timed: not_alternating, one_way, unknown_client; and packets of
	// those for which there was no_room.
	LeftOut        map[string]uint64 `json:"connections_left_out"`
	Programs       []ProgramStatus   `json:"programs"`
	IdentityMisses uint64            `json:"identity_misses"`
	// IdentityEarly counts records that were named sooner than after the usual delay, since too many waited.
	IdentityEarly uint64 `json:"identity_early"`
	// Identity is the state of the names from Kubernetes; null where they come from elsewhere.
	Identity *IdentityStatus `json:"identity"`
	// LastRead is when the loop that reads records last ran, with or without any.
	LastRead time.Time `json:"last_read"`
	// Hooked tells whether an overlay or uplink device, one that leads to other nodes, has a hook attached, and none there is
	// silent.
	Hooked bool `json:"hooked"`
}

// IdentityStatus is the state of the names from Kubernetes.
type IdentityStatus struct {
	Scope     string            `json:"scope"`     // "node" or "cluster"
	Synced    map[string]bool   `json:"synced"`    // by resource: all of it has been read
	Errors    map[string]uint64 `json:"errors"`    // by resource: requests to the API server that failed
	Conflicts uint64            `json:"conflicts"` // addresses that two pods claimed at once
	Stale     bool              `json:"stale"`     // names are those of an earlier run
}

// HookStatus is a hook that is to be attached.
type HookStatus struct {
	Program string      `json:"program"`
	Hook    string      `json:"hook"`             // "ingress", "egress", or a tracepoint's name
	Device  string      `json:"device,omitempty"` // "" for a tracepoint
	Role    netdev.Role `json:"role"`
	// Up tells that it is attached and the first there to run.
	Up bool `json:"up"`
	// Attached is true also where programs of others run before it: what they take, it does not see.
	Attached bool   `json:"attached"`
	Error    string `json:"error,omitempty"` // why it is not up
	// Silent tells of a hook that is not up that it is attached, and that no packet reaches it although its device counts some.
	Silent bool `json:"silent,omitempty"`
}

// ReattachedHook is how often a hook of a device was attached again, or those of all pods' devices ("pod").
type ReattachedHook struct {
	Hook   string `json:"hook"`
	Device string `json:"device"`
	Count  uint64 `json:"count"`
}

// OmittedHook is a hook that is left out by plan.
type OmittedHook struct {
	Hook   string `json:"hook"`
	Device string `json:"device,omitempty"`
	Reason string `json:"reason"`
}

// ProgramStatus is what the kernel says of a BPF program.
type ProgramStatus struct {
	Program         string  `json:"program"`
	Runs            uint64  `json:"runs"`    // as Seconds, 0 unless the kernel's BPF statistics are on
	Seconds         float64 `json:"seconds"` // of run time
	RecursionMisses uint64  `json:"recursion_misses"`
}
