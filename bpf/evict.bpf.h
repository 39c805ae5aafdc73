/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* How slots become free: for a newcomer, or because another packet is in them than was expected. */
#ifndef TRACER_EVICT_BPF_H
#define TRACER_EVICT_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>

#include "counter.bpf.h"
#include "end.bpf.h"
#include "kernel.h"
#include "slot.bpf.h"
#include "verifier.bpf.h"

static __always_inline void clear_slot(struct bucket *b, __u32 slot)
{
	b->tag[slot] = 0;
}

/*
 * Empties a slot whose packet is gone. Behind an ingress that may be the journey's end. Otherwise it has none, and that is
 * counted by the hook that saw it last.
 */
static __always_inline void evict_slot(struct bucket *b, __u32 slot)
{
	struct slot_state state = b->state[slot];
	__u64 hook = state.hook - HOOK_INGRESS;

	_Static_assert(HOOK_XMIT - HOOK_INGRESS == 3, "four hooks, below");
	if (state.flags & (FLAG_UNSAMPLED | FLAG_REPORTED)) {
		clear_slot(b, slot);
		return;
	}
	if (state.hook == HOOK_INGRESS && (past_devices || b->journey[slot].hops > 1)) {
		end_behind_ingress(b->tag[slot]);
		return;
	}
	clear_slot(b, slot);
	if (state.hook == HOOK_POD_QUEUE)
		count_atomic(COUNT_UNFINISHED_POD_QUEUE);
	else if (hook <= 3)
		count_atomic(COUNT_UNFINISHED_INGRESS + masked_index(hook, 4));
}

/*
 * Empties a slot in which another packet is than was expected. After an ingress that is nothing strange: a packet to a
 * socket of the node's own ends without a hook, and its address is used again.
 */
static __always_inline void evict_mismatch(struct bucket *b, __u32 slot)
{
	struct slot_state state = b->state[slot];

	if (state.hook == HOOK_INGRESS || state.flags & (FLAG_UNSAMPLED | FLAG_REPORTED)) {
		evict_slot(b, slot);
		return;
	}
	count_atomic((__u16)b->journey[slot].fingerprint == state.fingerprint ? COUNT_EVICTED_MISMATCH : COUNT_TORN);
	clear_slot(b, slot);
}

/*
 * A slot for a newcomer: an empty one, one whose journey was sent or never sampled, a stale one. A live packet's slot is
 * never taken: those are the slow packets, and without them the tail would look good. The state of an unsampled one says
 * nothing of its age, so it may go. CPUs begin at different slots to keep out of each other's. Without a time none is
 * stale.
 */
static __always_inline __u32 make_room(struct bucket *b, __u64 now)
{
	__u32 start = bpf_get_smp_processor_id(), slot;

	for (__u32 i = 0; i < SLOTS_PER_BUCKET; i++) {
		slot = (start + i) & (SLOTS_PER_BUCKET - 1);
		if (!b->tag[slot])
			return slot;
	}
	for (__u32 i = 0; i < SLOTS_PER_BUCKET; i++) {
		slot = (start + i) & (SLOTS_PER_BUCKET - 1);
		if (b->state[slot].flags & (FLAG_UNSAMPLED | FLAG_REPORTED)) {
			clear_slot(b, slot);
			return slot;
		}
	}
	if (!now)
		return NO_SLOT;
	for (__u32 i = 0; i < SLOTS_PER_BUCKET; i++) {
		slot = (start + i) & (SLOTS_PER_BUCKET - 1);
		if (is_stale(b, slot, now)) {
			count_atomic(COUNT_EVICTED_STALE);
			evict_slot(b, slot);
			return slot;
		}
	}
	return NO_SLOT;
}

/* The slot that has the key already, of whatever packet, or another one. */
static __always_inline __u32 claim_slot(struct bucket *b, __u64 key, __u64 now)
{
	__u32 slot = find_slot(b, key);

	if (is_slot(slot))
		evict_slot(b, slot);
	else
		slot = make_room(b, now);
	/* As in find_slot(). */
	return make_unknown_by(slot, key);
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

/*
 * slot is what find_slot() found. Returns it if it holds this packet. Otherwise evicts what it holds and returns NO_SLOT.
 * While the packet was parsed another CPU's newcomer may have taken the slot of an unsampled one.
 */
static __always_inline __u32 keep_or_evict(struct bucket *b, __u32 slot, __u64 key, const struct packet *p)
{
	if (!is_slot(slot))
		return NO_SLOT;
	slot = masked_index(slot, SLOTS_PER_BUCKET);
	if (b->tag[slot] != key)
		return NO_SLOT;
	if (!holds_packet(b, slot, p)) {
		evict_mismatch(b, slot);
		return NO_SLOT;
	}
	return slot;
}

#endif
