/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Which packets are sampled. Each flow may start so many journeys in each epoch, so that a rare flow is seen whatever
 * else passes; beyond this quota it is once in settings.sample_n packets, by a hash of what no node changes of them. All
 * nodes hash by one salt and compare with a threshold: so what one that samples fewer packets follows, the others follow too. What was
 * decided at a packet's first hook holds for its whole path: nothing that happens later, least of all its delay, has a say in it.
 */
#ifndef TRACER_SAMPLE_BPF_H
#define TRACER_SAMPLE_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "config.bpf.h"
#include "fingerprint.bpf.h"
#include "packet.bpf.h"
#include "slot.bpf.h"
#include "verifier.bpf.h"

#define NO_QUOTA 0xffff /* returned for a flow without a slot: counts as a used-up quota */

/* How many journeys a flow has started in an epoch, or tried to. */
struct quota {
	__u32 tag; /* of the flow */
	__u16 epoch;
	__u16 used;
};

/*
 * Flows' quotas, and what these flows sent lately beyond them: parts of four hashes in each word, the last one lowest. By bucket,
 * since a flow's packets are mostly on one CPU: so few lines of the cache go from one to another.
 */
#define LATELY 16

struct quota_bucket {
	struct quota slot[SLOTS_PER_BUCKET];
	__u64 lately[LATELY];
};

/* A variable for the same reasons as the in-flight table. */
struct quota_bucket quotas[FLOW_BUCKETS] __attribute__((aligned(64)));

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
static __always_inline __u32 use_quota(struct quota_bucket *b, __u32 tag, __u16 epoch)
{
	__u32 slot = find_quota(b, tag);

	if (!is_slot(slot))
		slot = unused_quota(b, epoch);
	slot = make_unknown_by(slot, tag); /* not once for each that there is */
	if (!is_slot(slot))
		return NO_QUOTA;
	slot = masked_index(slot, SLOTS_PER_BUCKET);
	struct quota quota = b->slot[slot];
	if (quota.tag != tag || quota.epoch != epoch)
		quota = (struct quota){ .tag = tag, .epoch = epoch };
	__u32 before = quota.used;
	quota.used += before < NO_QUOTA;
	b->slot[slot] = quota;
	return before;
}

/*
 * What tells a packet from an earlier one with the same number: 0 of one that has not been seen lately, else what turn makes of it. Packets
 * that nothing tells apart, such as acknowledgements over IPv6 and much of UDP without an IP id, would otherwise be sampled all or
 * none for as long as the salt is the same. Without a branch, or the verifier would walk through what comes after twice.
 */
static __always_inline __u64 turn_if_repeated(struct quota_bucket *b, __u64 number, __u64 turn)
{
	const __u64 each = 0x0001000100010001ull;
	__u64 *word = &b->lately[number >> 60], parts = *word;
	__u64 part = number >> 44 & 0x7fff; /* 15 bits: the sixteenth of each is what tells that it was 0 */
	__u64 seen = ((parts ^ part * each) - each) >> 15 & each;

	_Static_assert(LATELY == 1 << 4, "the shift above");
	*word = parts << 16 | part;
	barrier_var(seen); /* or clang makes a branch of it */
	return seen * turn; /* of turn the uppermost of seen's bits leaves 16 */
}

/*
 * Decides, once and at a packet's first hook, whether it is sampled. Returns the packet's weight (1/probability), or 0 if
 * it is not sampled. Chance is the packet's own contents, with a number that user space gives: bpf_get_prandom_u32() takes as long
 * as the rest of the hook, and knows nothing of other nodes.
 */
static __always_inline __u32 sampling_weight(const struct packet *p)
{
	__u32 n = settings.sample_n, epoch = settings.epoch;

	if (n <= 1)
		return 1;
	/* From the top: a product's bits depend on those below, and IPv4 addresses are in the upper halves. */
	__u64 hash = flow_hash(&p->flow);
	struct quota_bucket *b = &quotas[masked_index(hash >> 52, FLOW_BUCKETS)];
	_Static_assert(FLOW_BUCKETS == 1 << 12, "the shift above");
	barrier_var(b); /* or clang works out the address each time that it is used */
	__u32 before = use_quota(b, hash >> 20, epoch);
	if (before < settings.flow_quota)
		return 1;
	__u64 turn = 2 * (before + epoch * 0x9e37) + 1; /* never 0, and in each epoch others */
	__u64 number = mix(p->fingerprint, settings.salt);
	__u64 chance = mix(number, turn_if_repeated(b, number, turn)) >> 32;
	/* True for one in n of the numbers below 2^32, which are among those for which it is true with a smaller n. */
	return chance * n >> 32 ? 0 : n;
}

#endif
