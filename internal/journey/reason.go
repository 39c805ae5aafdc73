package journey

import (
	"strings"

	"tracer/internal/record"
)

// Class is what a drop's reason says about it.
type Class uint8

// The classes of drops. The zero Class is that of a journey that was not dropped.
const (
	NoDrop        Class = iota
	Noise               // freed by kfree_skb, but no loss
	QueueLoss           // a qdisc's or AQM's reason
	QueueLocation       // no reason, but a function that frees what a qdisc drops
	PolicyLoss          // a verdict: netfilter, tc, XDP, cgroup, XFRM
	OtherLoss
)

// Loss tells whether a packet was lost.
func (c Class) Loss() bool { return c > Noise }

// NotSpecified is the kernel's reason for drops that nobody has given a reason yet.
const NotSpecified = "NOT_SPECIFIED"

// Classify tells what a reason means, as the kernel names it without SKB_DROP_REASON_, and the symbol that called
// kfree_skb. Reasons are those of include/net/dropreason-core.h and, with their prefix or without, of the qdisc
// subsystem. What it does not know is a loss.
func Classify(reason, location string) Class {
	switch reason {
	case "", NotSpecified:
		switch {
		case freesForQdisc(location):
			return QueueLocation
		case function(location) == "skb_release_data": // fragments, once the packet is whole (skb_shinfo's frag_list)
			return Noise
		}
		return OtherLoss

	case "SKB_CONSUMED", "SKB_NOT_DROPPED_YET",
		"NO_SOCKET",               // after a close, and every echo reply to a raw socket (icmp_rcv, ping_rcv)
		"SOCKET_CLOSE",            // what a closing socket had not read
		"SOCKET_RCV_SHUTDOWN",     // shutdown(SHUT_RD)
		"SOCKET_FILTER",           // a filter of a raw or packet socket: its copy alone
		"PACKET_SOCK_ERROR",       // likewise
		"TAP_FILTER",              // what a tap's user asked not to see
		"OTHERHOST",               // promiscuous mode (ip_rcv_core)
		"UNICAST_IN_L2_MULTICAST", // flooded by a switch
		"UNHANDLED_PROTO",         // no handler for the EtherType (__netif_receive_skb_core)
		"TCP_OLD_DATA",            // received before: a spurious retransmission
		"TCP_OFOMERGE",            // likewise, still out of order
		"TCP_OFO_DROP",            // likewise
		"TCP_OLD_SEQUENCE",        // likewise
		"TCP_OLD_ACK",             // in the window and of no use
		"TCP_TOO_OLD_ACK",         // likewise
		"TCP_CLOSE",               // socket in TCP_CLOSE
		"TCP_RESET",               // an RST has done its work
		"TCP_FASTOPEN",            // data goes on with the child socket
		"DUP_FRAG",                // a fragment received before
		"IPV6_NDISC_NS_OTHERHOST": // solicitations for other hosts
		return Noise

	case "QDISC_DROP", "OVERLIMIT", "CONGESTED", "CAKE_FLOOD",
		"QUEUE_PURGE": // qdisc_reset; for other queues see quiet
		return QueueLoss

	case "NETFILTER_DROP", "TC_EGRESS", "TC_INGRESS", "TC_COOKIE_ERROR", "TC_CHAIN_NOTFOUND", "TC_RECLASSIFY_LOOP",
		"XDP", "BPF_CGROUP_EGRESS", "XFRM_POLICY":
		return PolicyLoss
	}
	switch {
	case reason[0] >= '0' && reason[0] <= '9': // a number that no enum has, as 7.2 gives to segments that tbf drops
		return Classify("", location)
	case strings.HasPrefix(reason, "FQ_"), strings.HasPrefix(reason, "QDISC_"), strings.HasPrefix(reason, "CODEL"):
		return QueueLoss
	case strings.HasPrefix(reason, "UNIX_"): // unix sockets carry no packet of the network
		return Noise
	}
	return OtherLoss
}

// freesForQdisc tells whether a caller of kfree_skb frees what a qdisc has dropped, on kernels or in qdiscs that give
// no reason.
func freesForQdisc(location string) bool {
	switch function(location) {
	case "kfree_skb_list", "kfree_skb_list_reason", // a qdisc's to_free list
		"__dev_queue_xmit", "__dev_xmit_skb", // the same, inlined
		"__tcf_kfree_skb_list",                                                  // the same, from 6.19
		"drop_func", "codel_dequeue", "codel_qdisc_dequeue", "fq_codel_dequeue", // codel at dequeue
		"__codel_qdisc_dequeue", "__fq_codel_dequeue", // the same, since they are called by others too
		"fq_codel_drop", "cake_dequeue", "cake_drop",
		"rtnl_kfree_skbs", "__rtnl_unlock", "rtnl_unlock", "netdev_run_todo", // a reset's list, freed at unlock
		"qdisc_reset", "__qdisc_reset_queue", "qdisc_reset_queue", "pfifo_fast_reset":
		return true
	}
	return false
}

// function is a symbol without the suffixes that compilers add (".isra.0").
func function(symbol string) string {
	name, _, _ := strings.Cut(symbol, ".")
	return name
}

// quiet tells of a drop whose reason says little that it is no loss, by where it happened. Without a reason, what is
// freed in a pod's sockets or was at no hook is mostly a packet that has been dealt with (the kernel of 5.10 has no
// reasons at all), and multicast ends so wherever nobody listens.
func quiet(rec *record.Record, at Stage) bool {
	switch rec.Reason {
	case "", NotSpecified:
		return at == Deliver || !rec.Attributed || rec.Last.Destination.Addr().IsMulticast()
	case "QUEUE_PURGE":
		return at != Queue // a socket's queue, purged when it closes
	}
	return false
}
