/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* How a journey begins, goes on, and moves to another slot. */
#ifndef TRACER_JOURNEY_BPF_H
#define TRACER_JOURNEY_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "counter.bpf.h"
#include "coverage.bpf.h"
#include "end.bpf.h"
#include "evict.bpf.h"
#include "header.bpf.h"
#include "packet.bpf.h"
#include "sample.bpf.h"
#include "slot.bpf.h"
#include "verifier.bpf.h"

/* A journey of one hop. The caller sets what is not in the headers: sizes, segments, weight, flags. */
static __always_inline void init_journey(struct journey *j, const struct packet *p, __u8 hook, __u32 ifindex, __u64 now)
{
	j->fingerprint = p->fingerprint;
	j->outer = p->outer;
	j->first = p->flow;
	j->last = p->flow;
	j->time_ns[0] = now;
	j->ifindex[0] = ifindex;
	j->hook[0] = hook;
	j->ip_bytes = p->ip_bytes;
	j->split_at = 0;
	j->begun_at = 0;
	j->hops = 1;
}

/*
 * A packet at its first hook; slot is where its address was found, with a packet before it, or NO_SLOT. now is the time, or 0 if
 * it was not read yet.
 */
static __always_inline void begin_journey(struct __sk_buff *ctx, __u32 class, struct bucket *b, __u64 key, __u32 slot,
					  const struct packet *p, enum hook hook, __u32 flags, __u64 now)
{
	__u32 weight = make_unknown_by(sampling_weight(p), key);
	now = weight ? read_clock(now, key) : 0;
	flags = make_unknown_by(flags | p->flags, key);

	if (is_slot(slot))
		evict_slot(b, masked_index(slot, SLOTS_PER_BUCKET));
	else
		slot = make_room(b, now);
	slot = make_unknown_by(slot, key); /* not once for each that there is */
	if (!is_slot(slot)) {
		if (weight)
			leave_weight(weight);
		else
			count_softirq(COUNT_UNSAMPLED);
		return;
	}
	slot = masked_index(slot, SLOTS_PER_BUCKET);
	struct journey *j = &b->journey[slot];
	struct slot_state state = { .ifindex = ctx->ifindex, .hook = hook, .fingerprint = p->fingerprint };
	b->tag[slot] = 0;
	barrier();
	if (weight) {
		state.flags = flags;
		init_journey(j, p, hook, ctx->ifindex, now);
		j->skb_bytes = ctx->len;
		j->wire_bytes = ctx->wire_len;
		j->segments = count_segments(p, ctx->gso_segs, ctx->gso_size);
		j->flags = flags;
		start_journey(j, weight, class, hook,
			      make_unknown_by(goes_on(ctx, class, hook, flags, p->flow.destination), key));
	} else {
		state.flags = flags | FLAG_UNSAMPLED;
		count_softirq(COUNT_UNSAMPLED);
	}
	b->state[slot] = state;
	barrier();
	b->tag[slot] = key;
}

/*
 * Moves a packet's journey from the key it waited under to the key of the sk_buff it continues as; returns the new slot or
 * NO_SLOT.
 */
static __always_inline __u32 move_journey(__u64 from_key, struct bucket *b, __u64 key, __u64 fingerprint)
{
	struct bucket from;

	if (!bucket_of(from_key, &from))
		return NO_SLOT;
	__u32 old = find_slot(&from, from_key);
	if (!is_slot(old) || from.journey[old & (SLOTS_PER_BUCKET - 1)].fingerprint != fingerprint)
		return NO_SLOT;
	__u32 slot = claim_slot(b, key, 0);
	if (is_slot(slot)) {
		b->tag[slot] = 0;
		barrier();
		__builtin_memcpy(&b->journey[slot], &from.journey[old & (SLOTS_PER_BUCKET - 1)],
				 sizeof(struct journey));
		b->state[slot] = from.state[old & (SLOTS_PER_BUCKET - 1)];
		barrier();
		b->tag[slot] = key;
	} else {
		leave_weight(from.journey[old & (SLOTS_PER_BUCKET - 1)].weight);
	}
	clear_slot(&from, old & (SLOTS_PER_BUCKET - 1));
	return slot;
}

#endif
