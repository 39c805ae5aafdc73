package diagnose

import (
	"cmp"
	"fmt"

	"tracer/internal/aggregate"
)

// halfOpen is of servers on this node whose SYN-ACKs leave it, and whose clients, pods or nodes of the cluster, send nothing but
// SYNs: the way here is open, the way there is not.
func halfOpen(w *window, all []*aggregate.Unanswered, severity Severity) Finding {
	f := noAnswer(w, all, severity)
	f.beyond = true
	server, client := f.Pairs[0].Src, f.Pairs[0].Dst
	f.subject = w.observer()
	f.predicate = fmt.Sprintf("SYN-ACKs of %s leave %s and no ACK of %s comes: %s%s; the answers are lost after they left", server,
		cmp.Or(all[0].LeftBy, "this node"), client, plural(f.Drops.Packets, "SYN-ACK"), w.sinceFirst(all))
	for i, u := range all {
		if i == maxLines {
			break
		}
		f.Evidence = append(f.Evidence, fmt.Sprintf("SYN-ACKs of %s leave %s and no ACK of %s comes: of it came %s after a SYN-ACK had left, and nothing else; its listening socket has %s half open",
			qualified(u.SrcNamespace, u.SrcWorkload), cmp.Or(u.LeftBy, "this node"), u.Destination.Addr(), plural(u.Others, "SYN"), plural(u.HalfOpen, "connection")))
	}
	f.Evidence = append(f.Evidence, "SYNs come, so the way here is open: what is lost is lost on the way there, or in the client's pod")
	f.Next = append([]string{"ss -tno state syn-recv dst " + all[0].Destination.Addr().String() + " # in the pod"}, f.Next...)
	f.Next = append(f.Next, "iptables-save -c | grep -E 'DROP|REJECT' # there, inside of "+client)
	return f
}

// severityOfHalfOpen goes by who the client is. A node may stand for clients elsewhere, which it gives its own address: what
// they begin and do not end is no outage.
func severityOfHalfOpen(u *aggregate.Unanswered) Severity {
	switch {
	case u.Others < minSamples:
	case u.DstNamespace != "":
		return Critical
	case isKnown(u):
		return Warning
	}
	return ""
}
