package diagnose

import (
	"cmp"
	"fmt"
	"slices"

	"tracer/internal/aggregate"
	"tracer/internal/journey"
	"tracer/internal/netdev"
	"tracer/internal/record"
)

// synQueueFull are listening sockets that have as many connections half open as they may and send no cookies: the kernel drops
// the SYNs of further clients, without a reason, and no application has a part in it.
func synQueueFull(w *window) *Finding {
	t := acceptQueueThreshold
	var hit []*aggregate.Pair
	for i := range w.counts.Pairs {
		if p := &w.counts.Pairs[i]; p.TCP != nil && w.lasts(p.TCP.SYNQueueFullSeconds, t.WarnSeconds) {
			hit = append(hit, p)
		}
	}
	if len(hit) == 0 {
		return nil
	}
	slices.SortStableFunc(hit, func(x, y *aggregate.Pair) int {
		return cmp.Compare(y.TCP.SYNQueueFullSeconds, x.TCP.SYNQueueFullSeconds)
	})
	worst := hit[0].TCP
	f := &Finding{
		Kind: KindDrop, Cause: AcceptQueueFull, Severity: Warning, Stage: journey.Deliver, Device: netdev.PodLabel, Direction: hit[0].Direction,
		Next: []string{
			"ss -tn state syn-recv # in the pod: who leaves connections half open?",
			"nstat -az TcpExtTCPReqQFullDrop TcpExtListenDrops # in the pod",
			"sysctl net.ipv4.tcp_syncookies net.ipv4.tcp_max_syn_backlog net.core.somaxconn # in the pod",
		},
	}
	if w.lasts(worst.SYNQueueFullSeconds, t.CriticalSeconds) {
		f.Severity = Critical
	}
	for _, p := range hit {
		f.pain += float64(p.TCP.SYNQueueFullSeconds) * initialRTO / w.seconds()
	}
	f.Pairs, f.PairsTotal = pairNames(hit)
	f.subject = "the SYN queue of " + f.Pairs[0].Dst
	f.predicate = fmt.Sprintf("is full where %s connects: %s half open, %s", f.Pairs[0].Src, plural(uint64(worst.SYNQueue.Length), "connection"), synLimit(worst.SYNQueue))
	f.Confidence = confidence(float64(worst.SYNQueueFullSeconds), 1, w.counts)
	f.Evidence = append([]string{
		fmt.Sprintf("its SYN queue was full in %s of the window, and net.ipv4.tcp_syncookies in the pod is 0: SYNs are dropped, which clients send again after 1, 2 and 4 seconds; critical from %s on",
			plural(worst.SYNQueueFullSeconds, "second"), plural(t.CriticalSeconds, "second")),
		"half open are connections whose client has not acknowledged the SYN-ACK: it was lost, its sender's address is forged, or the client is gone",
	}, missedEvidence(w.counts)...)
	return f
}

// synLimit says which limit was reached.
func synLimit(q record.SYNQueue) string {
	if q.Length >= q.Limit {
		return fmt.Sprintf("of %s that its backlog (`listen`, net.core.somaxconn) allows", group(uint64(q.Limit)))
	}
	return fmt.Sprintf("more than three quarters of net.ipv4.tcp_max_syn_backlog (%s), the rest of which is for clients known before", group(uint64(q.Backlog)))
}
