/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Drops: never sampled, and attributed to a hook by the packet's slot. */
#ifndef TRACER_DROP_BPF_H
#define TRACER_DROP_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "compat.bpf.h"
#include "config.bpf.h"
#include "counter.bpf.h"
#include "evict.bpf.h"
#include "ipsec.bpf.h"
#include "journey.bpf.h"
#include "kernel.h"
#include "netns.bpf.h"
#include "parse.bpf.h"
#include "pod.bpf.h"
#include "segment.bpf.h"
#include "send.bpf.h"
#include "slot.bpf.h"
#include "verifier.bpf.h"

/* Whether a drop with this reason is no loss. */
static __always_inline bool is_ignored(__u32 reason)
{
	return reason < 256 && settings.ignored_reasons[reason >> 6 & 3] >> (reason & 63) & 1;
}

/* Whether a segment opens a connection: SYN and no ACK. Inside a tunnel its header's place is not known. */
static __always_inline bool is_syn(struct sk_buff *skb, const struct packet *p)
{
	enum { FLAGS_OFFSET = 13, SYN = 2, ACK = 16 };
	__u8 flags = 0;

	if (p->flow.protocol != IPPROTO_TCP || p->flags & (FLAG_ENCAP | FLAG_FRAGMENT))
		return false;
	if (bpf_probe_read_kernel(&flags, sizeof(flags), skb->head + skb->transport_header + FLAGS_OFFSET))
		return false;
	return (flags & (SYN | ACK)) == SYN;
}

/*
 * Notes the MAC that a frame was for if it was another one than the device's, behind which the stack frees it. All kernels say
 * so of the packet, as reason only newer ones.
 */
static __always_inline void note_other_host(struct sk_buff *skb, struct journey *j)
{
	enum { MAC_BYTES = 6 };

	if (BPF_CORE_READ_BITFIELD_PROBED(skb, pkt_type) != PACKET_OTHERHOST)
		return;
	j->outer = 0;
	bpf_probe_read_kernel(&j->outer, MAC_BYTES, skb->head + skb->mac_header);
	j->flags |= FLAG_OTHERHOST;
}

/* Begins a journey with a drop of which only the packet and its last place are known. */
static __always_inline void init_dropped(struct journey *j, struct sk_buff *skb, const struct packet *p, __u8 hook,
					 __u32 ifindex, __u64 now)
{
	init_journey_of(j, skb, p, hook, ifindex, now);
	j->weight = 1;
}

/* Adds the drop to such a journey. */
static __always_inline void append_drop(struct journey *j, __u64 now)
{
	j->time_ns[1] = now;
	j->ifindex[1] = j->ifindex[0];
	j->hook[1] = HOOK_FREE;
	j->hops = 2;
}

/*
 * A loss without a slot: the packet was at no hook before, or its slot has been taken since it was delivered. A packet
 * lost inside a pod's namespace is counted for the pod that has the destination address, but only if it was routed to a
 * socket there: other namespaces may merely forward packets to that address. One that was to leave a pod is counted at the
 * pod's end of its device.
 */
static __always_inline void drop_without_slot(struct sk_buff *skb, struct packet *p, __u32 flags, __u64 location,
					      __u32 reason)
{
	struct net_device *dev = skb->dev;
	__u32 pod;
	struct journey j = { .flags = flags };
	__u64 now = bpf_ktime_get_ns();

	if (dev && may_be_in_netns(dev)) {
		j.flags |= FLAG_UNATTRIBUTED;
		init_dropped(&j, skb, p, HOOK_FREE, BPF_CORE_READ(dev, ifindex), now);
	} else if ((pod = leaving_pod_by(skb, p))) {
		init_dropped(&j, skb, p, HOOK_POD_QUEUE, pod, now);
		append_drop(&j, now);
	} else {
		__u32 *ifindex = bpf_map_lookup_elem(&tracer_pod_ips, p->flow.destination);

		if (!ifindex || !is_local_route(skb->_skb_refdst, skb->protocol))
			return;
		/* Another cluster on this machine may have the same addresses. Where TCP has cleared skb->dev, they alone decide. */
		struct net_device *peer = dev ? peer_of(dev) : NULL;
		if (peer && !may_be_in_netns(peer))
			return;
		init_dropped(&j, skb, p, HOOK_XMIT, *ifindex, now);
		append_drop(&j, now);
	}
	count_atomic(COUNT_DROPPED);
	send_record(&j, RECORD_DROP, reason, location, j.time_ns[0]);
}

/* Whether a slot's packet was handed to a driver that sends it out of the namespace, and neither to a pod's nor a tunnel's. */
static __always_inline bool has_left(struct slot_state state)
{
	return (state.flags & (FLAG_REPORTED | FLAG_POD | FLAG_TUNNEL)) == FLAG_REPORTED && state.hook == HOOK_XMIT;
}

/* Gives a large packet of UDP the fingerprint that it had at the last tc hook. Of an unsampled one only the slot's state is known. */
static __always_inline void know_paged(const struct bucket *b, __u32 slot, const struct sk_buff *skb, struct packet *p)
{
	__u32 found = masked_index(slot, SLOTS_PER_BUCKET);

	if (is_slot(slot) && !(b->state[found].flags & FLAG_UNSAMPLED) && is_same_paged(&b->journey[found], skb, p))
		p->fingerprint = b->journey[found].fingerprint;
}

static __always_inline void on_drop(struct sk_buff *skb, __u64 location, __u32 reason)
{
	__u64 key = key_of(skb);
	struct bucket b;
	struct packet p;

	if (!bucket_of(key, &b))
		return;
	__u32 slot = find_slot(&b, key);
	if (is_ignored(reason)) {
		if (!is_slot(slot))
			return;
		if (!(b.state[slot].flags & FLAG_UNSAMPLED))
			count_end(&b.journey[slot], true);
		evict_slot(&b, slot);
		return;
	}
	if (!is_ip(skb) || parse_skb(skb, &p) != PARSED)
		return;
	__u32 syn = make_unknown_by(is_syn(skb, &p) ? FLAG_SYN : 0, key);
	know_paged(&b, slot, skb, &p);
	slot = keep_or_evict(&b, slot, key, &p);
	if (is_slot(slot) && has_left(b.state[slot])) {
		/* Some drivers free what they have sent by kfree_skb(), as vmxnet3 does. With a reason it was lost elsewhere. */
		clear_slot(&b, slot);
		if (is_without_reason(reason))
			return;
		slot = NO_SLOT;
	}
	if (is_ipsec_split(skb, &p, location)) {
		end_ipsec_split(&b, slot);
		return;
	}
	if (!is_slot(slot))
		slot = find_expected_segment(&p, &b);
	if (!is_slot(slot)) {
		drop_without_slot(skb, &p, p.flags | syn, location, reason);
		return;
	}
	struct journey *j = &b.journey[slot];
	struct slot_state state = b.state[slot];
	__u64 now = bpf_ktime_get_ns();
	/* Drops are never sampled: the state tells where, the packet itself the rest. */
	if (state.flags & FLAG_UNSAMPLED)
		init_dropped(j, skb, &p, state.hook, state.ifindex, now);
	append_hop(&b, slot, HOOK_FREE, state.ifindex, now, state.flags | syn);
	j->last = p.flow; /* NAT behind the last tc hook decides where it was routed to */
	note_other_host(skb, j);
	count_atomic(COUNT_DROPPED);
	send_record(j, RECORD_DROP, reason, location, now);
	clear_slot(&b, slot);
}

#endif
