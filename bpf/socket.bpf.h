/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Which network namespace a TCP socket belongs to: the traced one, a pod's of this node, or neither. */
#ifndef TRACER_SOCKET_BPF_H
#define TRACER_SOCKET_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "address.bpf.h"
#include "compat.bpf.h"
#include "config.bpf.h"
#include "counter.bpf.h"
#include "end.bpf.h"
#include "fingerprint.bpf.h"
#include "kernel.h"
#include "parse.bpf.h"
#include "slot.bpf.h"

/* Of net_device.state: the device is up. __LINK_STATE_START in include/linux/netdevice.h; the dead way out has it never (net/core/dst.c). */
#define LINK_STATE_START (1UL << 0)

/* What TCP notes of a segment: TCP_SKB_CB() in include/net/tcp.h. */
static __always_inline const struct tcp_skb_cb *tcp_skb_cb(struct sk_buff *skb)
{
	return (const struct tcp_skb_cb *)__builtin_preserve_access_index(&skb->cb);
}

/*
 * The fingerprint of a segment that TCP has received: the stack has found both headers, so nothing need be parsed. Of IPv6
 * with a fragment header it is another one than the parsers'.
 */
static __always_inline __u64 segment_fingerprint(struct sk_buff *skb)
{
	struct layer layer = { .protocol = IPPROTO_TCP };
	__u64 head;

	if (!read_word((const void *)network_header(skb), &head))
		return 0;
	if ((head & 0xf0) == 0x40)
		layer.id = (__u16)(head >> 32);
	else
		layer.id = bpf_ntohl((__u32)head) & IPV6_FLOWLABEL_MASK;
	return tcp_fingerprint(&layer, bpf_htonl(BPF_CORE_READ(tcp_skb_cb(skb), seq)));
}

/*
 * The slot of a sampled packet that TCP has just got, or NO_SLOT. TCP frees what was read without a tracepoint, so what is found by
 * address alone may be of an earlier packet.
 */
static __always_inline __u32 find_received(struct bucket *b, struct sk_buff *skb)
{
	if (!bucket_of(key_of(skb), b))
		return NO_SLOT;
	__u32 slot = find_slot(b, key_of(skb));
	if (!is_slot(slot) || b->state[slot].flags & FLAG_UNSAMPLED)
		return NO_SLOT;
	return segment_fingerprint(skb) == b->journey[slot].fingerprint ? slot : NO_SLOT;
}

/* When a packet went to a pod's device: its slot stays after delivery. 0: it did not. */
static __always_inline __u64 delivery_time(const struct bucket *b, __u32 slot)
{
	const __u32 delivered = FLAG_REPORTED | FLAG_POD;

	if (!is_slot(slot) || (b->state[slot].flags & delivered) != delivered)
		return 0;
	const struct journey *j = &b->journey[slot];
	return j->time_ns[last_hop(j->hops)];
}

/* The connection's addresses from this end. False where a machine talks to itself: that is not traced. */
static __always_inline bool read_remote_flow(struct sock *sk, struct flow *flow)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if (family == AF_INET) {
		map_ipv4(flow->source, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		map_ipv4(flow->destination, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	} else if (family == AF_INET6) {
		BPF_CORE_READ_INTO((struct in6_addr *)flow->source, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)flow->destination, sk, __sk_common.skc_v6_daddr);
	} else {
		return false;
	}
	flow->source_port = bpf_htons(BPF_CORE_READ(sk, __sk_common.skc_num));
	flow->destination_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	flow->protocol = IPPROTO_TCP;
	const __u64 *source = (const __u64 *)flow->source, *destination = (const __u64 *)flow->destination;
	return source[0] != destination[0] || source[1] != destination[1];
}

/*
 * Whether this end is in the traced namespace, or a pod's: then by which device it is reached. With veth or netkit, the
 * device is the peer of the one the socket sends through; addresses alone may be others' too, in namespaces of another
 * cluster on this machine.
 */
static __always_inline bool is_on_node(struct sock *sk, const struct flow *flow, bool delivered, __u32 *ifindex)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) == settings.netns) {
		*ifindex = 0;
		return true;
	}
	if (delivered)
		return true;
	struct net_device *dev = BPF_CORE_READ(sk, sk_dst_cache, dev);
	struct net_device *peer = dev ? peer_of(dev) : NULL;
	if (peer) {
		*ifindex = BPF_CORE_READ(peer, ifindex);
		return BPF_CORE_READ(peer, nd_net.net, ns.inum) == settings.netns;
	}
	/*
	 * TCP keeps the socket of a process that has ended for as long as it sends again, even where its pod is gone, and with it
	 * the way out: the address may be another pod's by now. A device that goes has lost its peer before, and is stopped next.
	 */
	if (!(BPF_CORE_READ(dev, state) & LINK_STATE_START) && !BPF_CORE_READ(sk, sk_socket))
		return false;
	__u32 *pod = bpf_map_lookup_elem(&tracer_pod_ips, flow->source);
	if (!pod)
		return false;
	*ifindex = *pod;
	return true;
}

/* Whether a packet came in and went to no device. */
static __always_inline bool has_come_in(const struct bucket *b, __u32 slot)
{
	return is_slot(slot) && b->state[slot].hook == HOOK_INGRESS;
}

/* TCP has got a packet. If it is a pod's, and came past the pod's device, then this is the end of its journey. */
static __always_inline void end_at_pod_socket(struct sock *sk, struct sk_buff *skb)
{
	struct bucket b;
	struct flow flow;
	__u32 slot = find_received(&b, skb), ifindex;

	if (!has_come_in(&b, slot) || !read_remote_flow(sk, &flow) || !is_on_node(sk, &flow, false, &ifindex) ||
	    !ifindex)
		return;
	append_hop(&b, slot, HOOK_SOCKET, ifindex, bpf_ktime_get_ns(), b.state[slot].flags);
	/* TCP may take it from a socket's backlog, in a process. */
	count_atomic(COUNT_FINISHED);
	count_end(&b.journey[slot], true);
	finish_journey(&b, slot);
	b.tag[slot] = 0;
}

#endif
