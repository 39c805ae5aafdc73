package diagnose

import (
	"fmt"

	"tracer/internal/aggregate"
	"tracer/internal/record"
)

// synQueueFull are listening sockets that have as many connections half open as they may and send no cookies: the kernel drops
// the SYNs of further clients, without a reason, and no application has a part in it.
func synQueueFull(w *window) *Finding {
	f, worst := w.fullQueue(func(t *aggregate.TCP) uint64 { return t.SYNQueueFullSeconds })
	if f == nil {
		return nil
	}
	f.Next = []string{
		"ss -tn state syn-recv # in the pod: who leaves connections half open?",
		"nstat -az TcpExtTCPReqQFullDrop TcpExtListenDrops # in the pod",
		"sysctl net.ipv4.tcp_syncookies net.ipv4.tcp_max_syn_backlog net.core.somaxconn # in the pod",
	}
	f.subject = "the SYN queue of " + f.Pairs[0].Dst
	f.predicate = fmt.Sprintf("is full where %s connects: %s half open, %s", f.Pairs[0].Src, plural(uint64(worst.SYNQueue.Length), "connection"), synLimit(worst.SYNQueue))
	f.Evidence = append([]string{
		fmt.Sprintf("its SYN queue was full in %s of the window, and net.ipv4.tcp_syncookies in the pod is 0: SYNs are dropped, which clients send again after 1, 2 and 4 seconds; critical from %s on",
			plural(worst.SYNQueueFullSeconds, "second"), plural(acceptQueueThreshold.CriticalSeconds, "second")),
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
