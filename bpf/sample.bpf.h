/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Which packets are sampled. Each flow may start so many journeys in each epoch, so that a rare flow is seen whatever
 * else passes; beyond this quota it is once in settings.sample_n packets, by a hash of what no node changes of them. All
 * nodes hash by one salt and compare with a threshold: so what one that samples fewer packets follows, the others follow too. What was
 * decided at a packet's first hook holds for its whole path: nothing that happens later, least of all its delay, has a say in it.
 */
#ifndef TRACER_SAMPLE_BPF_H
#define TRACER_SAMPLE_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

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

struct quota_bucket {
	struct quota slot[SLOTS_PER_BUCKET];
};

/* A variable for the same reasons as the in-flight table. */
struct quota_bucket quotas[FLOW_BUCKETS] __attribute__((aligned(64)));

/* By the salt, or whoever chooses addresses and ports could have flows of others find no slot. */
static __always_inline __u64 flow_hash(const struct flow *f, __u64 salt)
{
	const __u64 *source = (const __u64 *)f->source, *destination = (const __u64 *)f->destination;
	__u64 ports = *(const __u64 *)&f->source_port; /* and the protocol */

	/* Independent products, which the machine computes side by side; then they are mixed. */
	return mix((source[0] ^ salt) * 0xa0761d6478bd642full ^ (source[1] ^ salt) * 0xe7037ed1a0b428dbull,
		   (destination[0] ^ salt) * 0x8ebc6af09c88c6e3ull ^ (destination[1] ^ salt) * 0x589965cc75374cc3ull ^
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
 * Whether a packet has a number by which other nodes know it: an IPv4 id, or TCP's sequence number if there is payload for certain, as
 * numberingOf() of internal/pairpath has it. Others, such as acknowledgements over IPv6 and much of UDP, may all be alike.
 */
static __always_inline bool has_number(const struct packet *p)
{
	enum { HEADERS_MAX = 120 }; /* of IP and TCP with options */
	const __u64 *source = (const __u64 *)p->flow.source;
	__u64 id = p->words_and_id >> 8, not_ipv4 = source[0] | ((__u32)source[1] ^ bpf_htonl(0xffff));
	__u64 is_short = ((__u64)p->ip_bytes - HEADERS_MAX - 1) >> 63, no_payload = (p->flow.protocol ^ IPPROTO_TCP) | is_short;
	/* The sign tells: -x has it if x is not 0, x - 1 if it is, x | -x if any large one is not. One branch is cheap to verify. */
	__u64 sign = (-id & ~(not_ipv4 | -not_ipv4)) | (no_payload - 1);

	barrier_var(sign);
	return (__s64)sign < 0;
}

/*
 * Decides, once and at a packet's first hook, whether it is sampled. Returns the packet's weight (1/probability), or 0 if
 * it is not sampled. Chance is the packet's own contents, with a number that user space gives: bpf_get_prandom_u32() takes as long
 * as the rest of the hook, and knows nothing of other nodes. Packets without a number are told apart by their place, of which no other node
 * knows: by their contents they would be sampled all or none for as long as the salt is the same.
 */
static __always_inline __u32 sampling_weight(const struct packet *p)
{
	__u32 n = settings.sample_n, epoch = settings.epoch;
	__u64 salt = settings.salt;

	if (n <= 1)
		return 1;
	/* From the top: a product's bits depend on those below, and IPv4 addresses are in the upper halves. */
	__u64 hash = flow_hash(&p->flow, salt);
	struct quota_bucket *b = &quotas[masked_index(hash >> 52, FLOW_BUCKETS)];
	_Static_assert(FLOW_BUCKETS == 1 << 12, "the shift above");
	barrier_var(b); /* or clang works out the address each time that it is used */
	__u32 before = use_quota(b, hash >> 20, epoch);
	if (before < settings.flow_quota)
		return 1;
	__u64 number = mix(p->fingerprint, salt);
	/* A product, since with equal steps mix() alone makes too regular a pattern. */
	if (!has_number(p))
		number ^= ((__u64)epoch << 16 | before) * 0xa0761d6478bd642full;
	__u64 chance = mix(make_long_unknown_by(number, salt), 0) >> 32;
	/* True for one in n of the numbers below 2^32, which are among those for which it is true with a smaller n. */
	return chance * n >> 32 ? 0 : n;
}

#endif
