package agent

import (
	"log/slog"

	"tracer/internal/failurelog"
)

// failures are what the agent does again and again, and goes on after it failed.
type failures struct {
	devices, hooks, sampling, own, maps, acceptQueues, pods, snapshot, netstat, routes, tunnels, nics, throttling, baseline, incidents, incidentFiles, incidentAge, capture, watched *failurelog.Operation
}

func newFailures(log *slog.Logger) failures {
	failed := func(message string) *failurelog.Operation { return failurelog.New(log, slog.LevelError, message) }
	warned := func(message string) *failurelog.Operation { return failurelog.New(log, slog.LevelWarn, message) }
	return failures{
		devices:       failed("cannot attach to the devices as they are now"),
		hooks:         failed("cannot look whether hooks are still in place"),
		sampling:      failed("cannot adapt the sampling"),
		own:           failed("cannot tell the BPF programs the node's own addresses; coverage may be wrong"),
		maps:          failed("cannot read the BPF maps"),
		acceptQueues:  failed("cannot read accept queues; full ones may stay unseen"),
		pods:          failed("cannot tell the BPF programs this node's pods; drops inside pods may stay unattributed"),
		snapshot:      failed("cannot take a snapshot; this window is not diagnosed"),
		netstat:       warned("cannot read some of the kernel's counters; diagnoses go without them"),
		routes:        warned("cannot ask the kernel's routing tables; findings go without what they say"),
		tunnels:       warned("cannot read where tunnels lead; diagnoses go without that"),
		nics:          warned("cannot read the counters of network cards; diagnoses go without them"),
		throttling:    warned("cannot read the CPU limits of pods whose application is slow; findings go without them"),
		watched:       warned("cannot read how long requests wait; some stay untimed"),
		baseline:      warned("cannot save the learned baseline; make the directory writable or give another --state-dir"),
		incidents:     warned("cannot keep incidents as fast as they come; some of what led to findings is left out"),
		incidentFiles: warned("cannot write an incident; make the directory writable, make room, or give another --incidents-dir"),
		incidentAge:   warned("cannot remove old incidents; make the directory writable, or give another --incidents-dir"),
		capture:       warned("cannot remove the BPF programs that read headers of packets; they end with this process"),
	}
}
