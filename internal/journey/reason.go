package journey

import (
	"slices"
	"strings"

	"tracer/internal/record"
)

// dropClass is what a drop's reason and location say about it.
type dropClass uint8

// The classes of drops. The zero class is that of a journey that did not end in a drop.
const (
	noDrop              dropClass = iota
	noise                         // freed by kfree_skb, but no loss
	qdiscDrop                     // the reason is a qdisc's or an AQM's
	qdiscDropByLocation           // no reason, but freed by a function that frees what a qdisc drops
	policyDrop                    // a verdict: netfilter, tc, XDP, cgroup, XFRM
	otherDrop
)

func (c dropClass) loss() bool { return c > noise }

// NotSpecified is the kernel's reason for drops to which its code gives none.
const NotSpecified = "NOT_SPECIFIED"

// classify tells what kind of drop it is by its reason, which is the kernel's name without SKB_DROP_REASON_, and its
// location, the symbol that called kfree_skb. Reasons are those of include/net/dropreason-core.h and, with or without
// their prefix, those of the qdisc subsystem. A reason that is not known means a loss.
func classify(reason, location string) dropClass {
	switch reason {
	case "", NotSpecified:
		switch {
		case freesForQdisc(location):
			return qdiscDropByLocation
		case slices.Contains([]string{
			"nf_hook_slow", "nf_hook_slow_list", "nf_hook", "nft_do_chain",
			"nf_queue", "__nf_queue", "nf_reinject", "nfqnl_reinject", "nfqnl_flush", "nfqnl_recv_verdict", "nfqnl_recv_verdict_batch",
		}, FunctionName(location)):
			return policyDrop
		case FunctionName(location) == "skb_release_data": // fragments, after reassembly (skb_shinfo's frag_list)
			return noise
		}
		return otherDrop

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
		"TCP_RFC7323_PAWS",        // overtaken, as where several CPUs decrypt: its timestamp is older than one that came
		"TCP_RFC7323_PAWS_ACK",    // likewise, an acknowledgement
		"TCP_CLOSE",               // socket in TCP_CLOSE
		"TCP_RESET",               // an RST has done its work
		"TCP_FLAGS",               // answered with an RST: an ACK of what the listener does not know (any more)
		"TCP_ABORT_ON_DATA",       // likewise: data for a socket that was closed
		"TCP_FASTOPEN",            // data goes on with the child socket
		"DUP_FRAG",                // a fragment received before
		"IPV6_NDISC_NS_OTHERHOST": // solicitations for other hosts
		return noise

	case "QDISC_DROP", "OVERLIMIT", "CONGESTED", "CAKE_FLOOD",
		"QUEUE_PURGE": // qdisc_reset; for other queues see isNoise
		return qdiscDrop

	case "NETFILTER_DROP", "TC_EGRESS", "TC_INGRESS", "TC_COOKIE_ERROR", "TC_CHAIN_NOTFOUND", "TC_RECLASSIFY_LOOP",
		"XDP", "BPF_CGROUP_EGRESS", "XFRM_POLICY":
		return policyDrop
	}
	switch {
	case reason[0] >= '0' && reason[0] <= '9': // a number that no enum has: 7.2 gives one to segments that tbf drops
		return classify("", location)
	case strings.HasPrefix(reason, "FQ_"), strings.HasPrefix(reason, "QDISC_"), strings.HasPrefix(reason, "CODEL"):
		return qdiscDrop
	case strings.HasPrefix(reason, "UNIX_"): // unix sockets carry no packet of the network
		return noise
	}
	return otherDrop
}

// IsQueueDrop tells of a drop's reason and location whether a qdisc dropped the packet.
func IsQueueDrop(reason, location string) bool {
	class := classify(reason, location)
	return class == qdiscDrop || class == qdiscDropByLocation
}

// freesForQdisc tells whether a caller of kfree_skb frees what a qdisc has dropped. It serves kernels and qdiscs that give
// no reason.
func freesForQdisc(location string) bool {
	switch FunctionName(location) {
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

// FunctionName is the function's name in a symbol, such as a drop's location: without the suffixes that compilers add
// (".isra.0").
func FunctionName(symbol string) string {
	name, _, _ := strings.Cut(symbol, ".")
	return name
}

// isNoise tells whether a drop with a reason that says little is no loss, by the stage it was in. Without a reason, a packet
// freed inside a pod, unless for a qdisc's or a policy's sake, in a socket of the node's own, or without having passed a hook has
// mostly been dealt with (5.10 gives no reasons at all).
func isNoise(rec *record.Record, at *Step, class dropClass) bool {
	switch rec.Reason {
	case "IP_INHDR":
		return probesRoute(rec)
	case "", NotSpecified:
		if probesRoute(rec) && rec.IPBytes <= smallestMTU {
			return true
		}
		if rec.Segments > 1 && FunctionName(rec.Location) == "nfqnl_enqueue_packet" {
			return true // its segments go to user space (NFQUEUE), and on from there
		}
		inPod := at.Stage == Deliver && class != policyDrop && !Reassembles(rec.Location)
		if at.Stage == PodQueue {
			inPod = class == otherDrop && !FreesForNeighbour(rec.Location) || class == qdiscDropByLocation && !at.Device.Queues
		}
		return inPod || !rec.Attributed || freesForSocket(rec.Location)
	case "QUEUE_PURGE":
		return !at.Stage.Queues() // a socket's queue, purged when it closes
	}
	return false
}

// FreesForNeighbour tells whether a caller of kfree_skb frees what waited for a neighbour's link address, which nobody told.
// IPv6's gives no reason on any kernel.
func FreesForNeighbour(location string) bool {
	switch FunctionName(location) {
	case "arp_error_report", "ndisc_error_report", "__neigh_event_send", "neigh_invalidate", "neigh_resolve_output", "neigh_connected_output",
		"neigh_timer_handler", "neigh_add_timer":
		return true
	}
	return false
}

// freesForSocket tells whether a caller of kfree_skb frees without a reason what has come to its socket, or what no socket
// was there for. So ends what TCP is done with: the last segments of a connection, what comes after an RST, retransmissions of
// SYNs.
func freesForSocket(location string) bool {
	switch name := FunctionName(location); name {
	case "icmp_rcv", "icmpv6_rcv", "igmp_rcv", "ping_rcv", "raw_rcv", "rawv6_rcv", // an echo reply's original
		"__udp4_lib_rcv", "__udp6_lib_rcv", // answered with port unreachable
		"sk_stream_kill_queues", "inet_sock_destruct": // what a closing socket had not read
		return true
	default:
		return strings.HasPrefix(name, "tcp_v4_") || strings.HasPrefix(name, "tcp_v6_") || strings.HasPrefix(name, "tcp_rcv_")
	}
}

// ReassemblyTimeout tells whether a caller of kfree_skb frees fragments whose time is up: in a queue that is given up, the first of
// them apart.
func ReassemblyTimeout(location string) bool {
	switch FunctionName(location) {
	case "ip_expire", "ip6_frag_expire", "ip6frag_expire_frag_queue", "nf_ct_frag6_expire", "inet_frag_rbtree_purge", "inet_frag_queue_flush":
		return true
	}
	return false
}

// Reassembles tells whether a caller of kfree_skb frees fragments that are not put together.
func Reassembles(location string) bool {
	switch FunctionName(location) {
	case "ip_defrag", "ip_frag_queue", "ip_frag_reinit", "ipv6_frag_rcv", "ip6_frag_queue", "nf_ct_frag6_gather", "nf_ct_frag6_queue":
		return true
	}
	return ReassemblyTimeout(location)
}
