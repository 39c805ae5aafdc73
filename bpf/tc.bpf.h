/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What happens at tc ingress and egress: here packets are parsed, and here journeys begin. */
#ifndef TRACER_TC_BPF_H
#define TRACER_TC_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "clone.bpf.h"
#include "config.bpf.h"
#include "counter.bpf.h"
#include "coverage.bpf.h"
#include "evict.bpf.h"
#include "ipsec.bpf.h"
#include "journey.bpf.h"
#include "parse.bpf.h"
#include "slot.bpf.h"
#include "verifier.bpf.h"
#include "watch.bpf.h"

/* Always on to the next program: on a TCX chain TCX_NEXT, behind clsact with direct-action TC_ACT_UNSPEC. */
#define NEXT (-1)

/* Times the requests that pass a pod's device. Returns the time if that was read, else 0. */
static __always_inline __u64 watch(struct __sk_buff *ctx, __u64 key, __u32 traits, enum hook hook)
{
	__u32 ethernet = (traits & 1) * sizeof(struct ethhdr);
	__u64 now = 0;

	if (traits >> 16 & FLAG_POD && may_be_watched(ctx, ethernet))
		now = watch_requests(ctx, ethernet, hook == HOOK_EGRESS);
	return make_long_unknown_by(now, key);
}

static __always_inline bool parse_or_count(struct __sk_buff *ctx, bool ethernet, __u32 class, enum hook hook,
					   struct packet *p)
{
	switch (parse_tc(ctx, ethernet, p)) {
	case PARSED:
		return true;
	case MALFORMED:
		count_atomic(COUNT_MALFORMED);
		break;
	case TOO_DEEP:
		count_atomic(COUNT_TOO_DEEP);
		break;
	default:
		break;
	}
	count_unjourneyed(ctx, class, hook);
	return false;
}

/* Another tc hook of an unsampled packet. */
static __always_inline void move_unsampled(const struct __sk_buff *ctx, struct bucket *b, __u32 slot, enum hook hook,
					   __u32 flags)
{
	b->state[slot].ifindex = ctx->ifindex;
	b->state[slot].hook = hook;
	b->state[slot].flags = flags;
}

/* ... and of one that is sampled, or may be. */
static __always_inline void continue_journey(struct __sk_buff *ctx, __u32 class, struct bucket *b, __u64 key,
					     __u32 slot, const struct packet *p, enum hook hook, __u32 flags, __u64 now)
{
	struct journey *j = &b->journey[slot];

	flags |= p->flags | (b->state[slot].flags & (FLAG_ENCAP | FLAG_UNSAMPLED));
	if (flags & FLAG_UNSAMPLED) {
		move_unsampled(ctx, b, slot, hook, flags);
		return;
	}
	j->outer = p->outer;
	j->last = p->flow;
	j->wire_bytes = ctx->wire_len;
	append_hop(b, slot, hook, ctx->ifindex, read_clock(now, key), flags);
	count_continued(ctx, j, class, hook);
	if (b->tag[slot] != key) {
		/* Taken over while it was written: whoever did has our hop in his journey. */
		count_atomic(COUNT_TORN);
		clear_slot(b, slot);
	}
}

/*
 * Whether a packet at a tc hook is the one whose slot it found, however long ago that was: it may have waited for user space
 * (NFQUEUE), for its next hop's address or for a key. It is a new one with its predecessor's address and contents (a
 * retransmission) if it comes twice to the same hook, or to the egress of a device whose queue or driver has had it. And if
 * the packet before came in somewhere and this one did not.
 */
static __always_inline bool may_continue(const struct __sk_buff *ctx, const struct bucket *b, __u32 slot,
					 enum hook hook)
{
	struct slot_state state = b->state[slot];

	if (state.flags & FLAG_REPORTED)
		return false;
	if (hook == HOOK_INGRESS)
		return state.hook != HOOK_INGRESS || state.ifindex != ctx->ifindex;
	if (state.hook == HOOK_INGRESS)
		return ctx->ingress_ifindex;
	return state.ifindex != ctx->ifindex;
}

static __always_inline int on_ingress(struct __sk_buff *ctx)
{
	const struct device *device = find_device(ctx->ifindex);
	__u64 key = key_of(ctx);
	struct bucket b;
	struct packet p;

	if (!device || !bucket_of(key, &b))
		return NEXT;
	/* First, so that the bucket is fetched while the packet is parsed. */
	__u32 slot = find_slot(&b, key), traits = traits_of(device);
	__u64 now = watch(ctx, key, traits, HOOK_INGRESS);
	/* Of this the verifier has learnt more than it should care about. */
	traits = make_unknown_by(traits, key);
	__u32 class = traits >> 24;
	if (!parse_or_count(ctx, traits & 0xff, class, HOOK_INGRESS, &p))
		return NEXT;
	slot = make_unknown_by(keep_or_evict(&b, slot, key, &p), key);
	if (is_slot(slot) && may_continue(ctx, &b, slot, HOOK_INGRESS))
		continue_journey(ctx, class, &b, key, slot, &p, HOOK_INGRESS, 0, now);
	else
		begin_journey(ctx, class, &b, key, slot, &p, HOOK_INGRESS, 0, now);
	return NEXT;
}

/*
 * Whether a packet at an egress is an unsampled one, by the device that it came in by: each packet got a slot there, so
 * it need not be parsed again.
 */
static __always_inline bool is_unsampled_forward(const struct __sk_buff *ctx, struct slot_state state)
{
	return state.flags & FLAG_UNSAMPLED && state.hook == HOOK_INGRESS && state.ifindex == ctx->ingress_ifindex;
}

static __always_inline int on_egress(struct __sk_buff *ctx)
{
	const struct device *device = find_device(ctx->ifindex);
	__u64 key = key_of(ctx);
	struct bucket b;
	struct packet p;

	if (!device || !bucket_of(key, &b))
		return NEXT;
	__u32 traits = traits_of(device), flags = traits >> 16 & 0xff, class = traits >> 24;
	__u32 slot = find_slot(&b, key), found = masked_index(slot, SLOTS_PER_BUCKET);
	__u64 now = watch(ctx, key, traits, HOOK_EGRESS);
	if (is_slot(slot) && is_unsampled_forward(ctx, b.state[found])) {
		move_unsampled(ctx, &b, found, HOOK_EGRESS,
			       flags | FLAG_UNSAMPLED | (b.state[found].flags & FLAG_ENCAP));
		return NEXT;
	}
	slot = make_unknown_by(slot, key); /* what the comparison has taught the verifier */
	if (!parse_or_count(ctx, traits & 0xff, class, HOOK_EGRESS, &p))
		return NEXT;
	slot = make_unknown_by(keep_encrypted_or_evict(ctx, &b, slot, key, &p), key);
	if (!is_slot(slot))
		slot = adopt_clone(key, &p);
	__u32 begins = make_unknown_by(!ctx->ingress_ifindex | !!(class & CLASS_BEGINS), key);
	found = masked_index(slot, SLOTS_PER_BUCKET);
	if (is_slot(slot) && may_continue(ctx, &b, found, HOOK_EGRESS))
		continue_journey(ctx, class, &b, key, found, &p, HOOK_EGRESS, flags, now);
	else if ((begins | make_unknown_by(is_ipsec(&p), key)) && !(p.flags & FLAG_ENCAP))
		begin_journey(ctx, class, &b, key, slot, &p, HOOK_EGRESS, flags, now);
	else { /* forwarded, or the outside of a tunnel of ours */
		count_softirq(COUNT_NO_INGRESS);
		count_unjourneyed(ctx, class, HOOK_EGRESS);
	}
	return NEXT;
}

#endif
