/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Which packets are sampled. Each flow may start so many journeys in each epoch, so that a rare flow is seen whatever
 * else passes; beyond this quota a packet is sampled at random, once in settings.sample_n times. What was decided at a
 * packet's first hook holds for its whole path: nothing that happens later, least of all its delay, has a say in it.
 */
#ifndef TRACER_SAMPLE_BPF_H
#define TRACER_SAMPLE_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "config.bpf.h"
#include "fingerprint.bpf.h"
#include "packet.bpf.h"
#include "slot.bpf.h"

#define NO_QUOTA 0xffff /* returned for a flow without a slot: counts as a used-up quota */

/* How many journeys a flow has started in an epoch, or tried to. */
struct quota {
	__u32 tag; /* of the flow */
	__u16 epoch;
	__u16 used;
};

struct quota_bucket {
	struct quota slot[SLOTS_PER_BUCKET];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_BUCKETS);
	__type(key, __u32);
	__type(value, struct quota_bucket);
} tracer_quotas SEC(".maps");

static __always_inline __u64 flow_hash(const struct flow *f)
{
	const __u64 *source = (const __u64 *)f->source, *destination = (const __u64 *)f->destination;
	__u64 ports = *(const __u64 *)&f->source_port; /* and the protocol */

	/* Independent products, which the machine computes side by side; then they are mixed. */
	return mix(source[0] * 0xa0761d6478bd642full ^ source[1] * 0xe7037ed1a0b428dbull,
		   destination[0] * 0x8ebc6af09c88c6e3ull ^ destination[1] * 0x589965cc75374cc3ull ^
			   ports * 0x1d8e4e27c47d124full);
}

static __always_inline __u32 find_quota(const struct quota_bucket *b, __u32 tag)
{
#pragma clang loop unroll(full)
	for (__u32 slot = 0; slot < SLOTS_PER_BUCKET; slot++)
		if (b->slot[slot].tag == tag)
			return slot;
	return NO_SLOT;
}

/* The first slot that nobody has used in this epoch, so that few flows are looked for in more than one. */
static __always_inline __u32 unused_quota(const struct quota_bucket *b, __u16 epoch)
{
#pragma clang loop unroll(full)
	for (__u32 slot = 0; slot < SLOTS_PER_BUCKET; slot++)
		if (b->slot[slot].epoch != epoch)
			return slot;
	return NO_SLOT;
}

/*
 * Uses up one of a flow's quota for this epoch; returns how many were used before. A flow for which all slots of its
 * bucket are taken by others in this epoch has no quota. Two CPUs may count one packet.
 */
static __always_inline __u32 use_quota(__u64 hash)
{
	/* From the top: a product's bits depend on those below, and IPv4 addresses are in the upper halves. */
	__u32 i = hash >> 52, tag = hash >> 20;
	struct quota_bucket *b = bpf_map_lookup_elem(&tracer_quotas, &i);
	__u16 epoch = settings.epoch;
	__u32 slot;

	_Static_assert(FLOW_BUCKETS == 1 << 12, "the shift above");
	if (!b)
		return NO_QUOTA;
	slot = find_quota(b, tag);
	if (!is_slot(slot))
		slot = unused_quota(b, epoch);
	if (!is_slot(slot))
		return NO_QUOTA;
	struct quota quota = b->slot[slot];
	if (quota.tag != tag || quota.epoch != epoch)
		quota = (struct quota){ .tag = tag, .epoch = epoch };
	__u32 before = quota.used;
	quota.used += before < NO_QUOTA;
	b->slot[slot] = quota;
	return before;
}

/*
 * Decides, once and at a packet's first hook, whether it is sampled. Returns the packet's weight (1/probability), or 0 if
 * it is not sampled. Chance is the packet's own contents, with a number that user space draws for each epoch and the packet's
 * place in it: bpf_get_prandom_u32() takes as long as the rest of the hook.
 */
static __always_inline __u32 sampling_weight(const struct packet *p)
{
	__u32 n = settings.sample_n;

	if (n <= 1)
		return 1;
	__u32 before = use_quota(flow_hash(&p->flow));
	if (before < settings.flow_quota)
		return 1;
	__u64 chance = mix(mix(p->fingerprint, settings.salt), before) >> 32;
	/* True for one in n of the numbers below 2^32. */
	return chance * n >> 32 ? 0 : n;
}

#endif
