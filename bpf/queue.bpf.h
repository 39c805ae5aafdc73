/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What happens to a packet behind an egress: it is dequeued, handed to the driver, or consumed because it was split. */
#ifndef TRACER_QUEUE_BPF_H
#define TRACER_QUEUE_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "clone.bpf.h"
#include "compat.bpf.h"
#include "config.bpf.h"
#include "counter.bpf.h"
#include "evict.bpf.h"
#include "journey.bpf.h"
#include "kernel.h"
#include "netns.bpf.h"
#include "parse.bpf.h"
#include "pod.bpf.h"
#include "segment.bpf.h"
#include "send.bpf.h"
#include "slot.bpf.h"

/*
 * Packets of one bulk dequeue that are looked at. How many there are is limited by bytes (qdisc_avail_bulklimit()), so there may be
 * more of small ones. For these xmit ends the queue stage; only packets that GSO splits behind the queue need this hook.
 */
#define BULK_MAX 8

/*
 * Whether the packet is still the one whose word was read at the last tc hook. What comes out of an encrypting
 * device has no such word.
 */
static __always_inline bool is_same_outer(const struct journey *j, __u64 header)
{
	__u64 word;

	if (!read_word((const void *)header, &word))
		return false;
	return outer_word(word) == j->outer;
}

/*
 * The slot of a packet that is queued on this device; NO_SLOT if what is found is another's. header is the address of the
 * packet's IP header.
 */
static __always_inline __u32 find_queued(struct bucket *b, __u64 key, __u64 header, __u32 ifindex)
{
	__u32 slot = find_slot(b, key);

	if (!is_slot(slot))
		return NO_SLOT;
	struct slot_state state = b->state[slot];
	if (state.flags & FLAG_REPORTED || !is_queued(state.hook) || state.ifindex != ifindex)
		return NO_SLOT;
	if (!(state.flags & FLAG_UNSAMPLED) && !is_same_outer(&b->journey[slot], header)) {
		evict_mismatch(b, slot);
		return NO_SLOT;
	}
	return slot;
}

/*
 * The two rare cases at a dequeue. mismatch: the slot belongs to another packet; evict it, return 0. Else the driver had sent
 * the packet back: keep the later time, return 1. A global function: the verifier looks at it by itself, and not for each
 * packet of a bulk dequeue. The common case is no function, since a call alone takes half as long as its work.
 */
__noinline int on_rare_dequeue(__u64 key, __u32 mismatch)
{
	struct bucket b;

	if (!bucket_of(key, &b))
		return 0;
	__u32 slot = find_slot(&b, key);
	if (!is_slot(slot))
		return 0;
	if (mismatch) {
		evict_mismatch(&b, slot);
		return 0;
	}
	struct journey *j = &b.journey[slot];
	j->time_ns[last_hop(j->hops)] = bpf_ktime_get_ns();
	count_atomic(COUNT_REQUEUED);
	return 1;
}

/* split: whether the device's qdisc splits. ifindex may be POD_END, where no packet is found to be queued. */
static __always_inline void on_dequeue(struct sk_buff *skb, __u32 ifindex, bool split)
{
	__u64 key = key_of(skb);
	struct bucket b;

	if (!bucket_of(key, &b))
		return;
	__u32 slot = find_slot(&b, key), found = masked_index(slot, SLOTS_PER_BUCKET);
	struct slot_state state = b.state[found];
	if (!is_slot(slot) || state.flags & FLAG_REPORTED || !is_queued(state.hook) || state.ifindex != ifindex) {
		if (split && is_ip(skb))
			adopt_segment(key, skb, ifindex);
		return;
	}
	if (state.flags & FLAG_UNSAMPLED) {
		b.state[found].hook = HOOK_DEQUEUE;
		return;
	}
	bool mismatch = !is_same_outer(&b.journey[found], network_header(skb));
	if (mismatch || state.hook == HOOK_DEQUEUE) {
		if (!on_rare_dequeue(key, mismatch) && split && is_ip(skb))
			adopt_segment(key, skb, ifindex);
		return;
	}
	append_hop(&b, found, HOOK_DEQUEUE, ifindex, bpf_ktime_get_ns(), state.flags);
}

static __always_inline void on_xmit(struct sk_buff *skb, struct net_device *dev)
{
	if (!in_netns(dev))
		return;
	__u64 key = key_of(skb);
	struct bucket b;

	if (!bucket_of(key, &b))
		return;
	__u32 slot = find_queued(&b, key, network_header(skb), dev->ifindex);
	if (!is_slot(slot))
		return;
	struct slot_state state = b.state[slot];
	if (state.flags & FLAG_UNSAMPLED)
		b.state[slot].hook = HOOK_XMIT;
	else
		append_hop(&b, slot, HOOK_XMIT, state.ifindex, bpf_ktime_get_ns(), state.flags);
	if (!(state.flags & FLAG_LEAVES))
		return;
	if (!(state.flags & FLAG_UNSAMPLED)) {
		count_softirq(COUNT_FINISHED);
		finish_journey(&b, slot);
	}
	/*
	 * The slot stays: a pod's for a drop inside the pod, a tunnel's for one in its driver, any other's for a driver that frees
	 * what it has sent as if it were lost.
	 */
	b.state[slot].flags |= FLAG_REPORTED;
}

/* Whether the qdisc that took a packet in has split it then: it has not come out as it was. */
static __always_inline bool is_split_at_enqueue(struct slot_state state)
{
	if (state.hook == HOOK_POD_QUEUE)
		return pod_splits(state.ifindex) && !(state.flags & FLAG_DEQUEUED);
	return state.hook == HOOK_EGRESS && device_splits(state.ifindex);
}

/*
 * Whether a large packet of UDP is the one that a slot has, by its flow: the payload, of which the fingerprint is made, lies in pages that
 * a tracepoint cannot read. Any packet that had been at a hook since would have the slot.
 */
static __always_inline bool is_same_paged(const struct journey *j, const struct sk_buff *skb, const struct packet *p)
{
	const __u64 *was = (const __u64 *)&j->last, *is = (const __u64 *)&p->flow;

	/* The two last words of the addresses, ports and protocol. */
	return skb->data_len && p->flow.protocol == IPPROTO_UDP && !((was[1] ^ is[1]) | (was[3] ^ is[3]) | (was[4] ^ is[4]));
}

static __always_inline void on_consume(struct sk_buff *skb)
{
	__u64 key = key_of(skb);
	struct bucket b;
	struct packet p;
	struct gso gso;

	if (!bucket_of(key, &b))
		return;
	__u32 slot = find_slot(&b, key);
	if (!is_slot(slot))
		return;
	struct slot_state state = b.state[slot];
	if (state.flags & (FLAG_UNSAMPLED | FLAG_REPORTED)) {
		clear_slot(&b, slot);
		return;
	}
	/* Into a socket, unless it has a route to go on by: then as a clone. What waits to be read has lost its route. */
	if (state.hook == HOOK_INGRESS && !is_onward_route(skb->_skb_refdst, skb->protocol)) {
		end_behind_ingress(key);
		return;
	}
	bool in_pod = state.hook == HOOK_POD_QUEUE;
	if (!is_queued(state.hook) && !in_pod) {
		expect_clone(&b, slot, key);
		return;
	}
	/* By its contents: the split of a tunnel's packet has moved the network header to the inner one's. */
	if (parse_skb(skb, &p) != PARSED || !(holds_packet(&b, slot, &p) || is_same_paged(&b.journey[slot], skb, &p))) {
		evict_mismatch(&b, slot);
		return;
	}
	read_gso(skb, &p, &gso);
	if (!gso.size) {
		evict_slot(&b, slot);
		return;
	}
	struct journey *j = &b.journey[slot];
	__u64 now = bpf_ktime_get_ns();
	if (is_split_at_enqueue(state)) {
		expect_segments(j, state, &p, &gso, now);
		j->split_at = j->hops;
	}
	count_atomic(COUNT_SPLIT);
	if (!in_pod) { /* there each segment is seen by itself */
		append_hop(&b, slot, HOOK_FREE, state.ifindex, now, state.flags);
		send_record(j, RECORD_SPLIT, 0, 0, now);
	}
	clear_slot(&b, slot);
}

#endif
