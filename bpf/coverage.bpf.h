/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * How much each device's hooks see (struct coverage). User space compares it with the device's own counters, and what began
 * with what ended. Only sampled packets are counted, where the counters are looked up anyway; and those few that are no IP.
 */
#ifndef TRACER_COVERAGE_BPF_H
#define TRACER_COVERAGE_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_packet.h>
#include <bpf/bpf_helpers.h>

#include "config.bpf.h"
#include "counter.bpf.h"
#include "fingerprint.bpf.h"
#include "packet.bpf.h"
#include "record.h"

/* Where packets of a class of devices are counted at a tc hook. */
static __always_inline __u32 coverage_index(__u32 class, enum hook hook)
{
	return (class & CLASS_MASK) * 2 + (hook == HOOK_EGRESS);
}

static __always_inline struct coverage *coverage_at(struct counters *c, __u32 index)
{
	barrier_var(index); /* or clang takes the mask for needless */
	return &c->coverage[index & (2 * CLASSES - 1)];
}

static __always_inline void add_seen(struct coverage *c, __u64 weight, __u32 segments, __u32 goes_on)
{
	c->packets += weight;
	if (weight != 1)
		c->variance += weight * (weight - 1);
	c->segments[goes_on & 1] += weight * segments;
}

/* A packet that has no journey, for whatever reason but that it was not sampled. */
static __always_inline void count_unjourneyed(const struct __sk_buff *ctx, __u32 class, enum hook hook)
{
	__u32 zero = 0, segments = ctx->gso_segs;
	struct counters *c = bpf_map_lookup_elem(&tracer_counters, &zero);

	if (c)
		add_seen(coverage_at(c, coverage_index(class, hook)), 1, segments ? segments : 1, 0);
}

/* A sampled packet at a hook behind its first. It may have more segments now: GRO has merged others into it. */
static __always_inline void count_continued(const struct __sk_buff *ctx, const struct journey *j, __u32 class,
					    enum hook hook)
{
	__u32 zero = 0, segments = j->segments;
	struct counters *c = bpf_map_lookup_elem(&tracer_counters, &zero);

	if (!c)
		return;
	if (hook == HOOK_INGRESS && ctx->gso_segs > segments) {
		if (j->begun_at)
			coverage_at(c, j->begun_at - 1)->merged += (__u64)j->weight * (ctx->gso_segs - segments);
		segments = ctx->gso_segs;
	}
	add_seen(coverage_at(c, coverage_index(class, hook)), j->weight, segments, 0);
}

/*
 * A journey begins; j has its segments. It gets its weight, with that of packets without a slot. goes_on is 1 where its
 * packet is to pass another hook, and so its end is to be counted; else 0. No branch depends on it: the verifier would walk
 * through all that follows once more.
 */
static __always_inline void start_journey(struct journey *j, __u32 weight, __u32 class, enum hook hook, __u32 goes_on)
{
	__u32 zero = 0, index = coverage_index(class, hook);
	struct counters *c = bpf_map_lookup_elem(&tracer_counters, &zero);

	if (!c) {
		j->weight = weight;
		return;
	}
	j->weight = weight += take_weight(c);
	add_seen(coverage_at(c, index), weight, j->segments, goes_on);
	j->begun_at = (index + 1) * goes_on;
}

/*
 * The same for a journey that begins in a pod, in front of the pod's queue. It is seen where it comes out, and of what is lost in
 * there nothing is expected: so it is not among those whose end is counted.
 */
static __always_inline void start_in_pod(struct journey *j, __u32 weight)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&tracer_counters, &zero);

	j->weight = c ? weight + take_weight(c) : weight;
}

/* A journey has come to an end that is known, in a softirq or, with atomic, in any context. Counted once. */
static __always_inline void count_end(struct journey *j, bool atomic)
{
	__u32 zero = 0, at = j->begun_at;

	if (!at)
		return;
	struct counters *c = bpf_map_lookup_elem(&tracer_counters, &zero);
	if (!c)
		return;
	j->begun_at = 0;
	__u64 *ended = &coverage_at(c, at - 1)->ended, segments = (__u64)j->weight * j->segments;
	if (atomic)
		__sync_fetch_and_add(ended, segments);
	else
		*ended += segments;
}

/* Whether an address is one of the node's own, or shares a hash with one. */
static __always_inline bool may_be_own(const __u8 *address)
{
	const __u64 *half = (const __u64 *)address;
	__u64 hash = (half[0] ^ half[1]) * GOLDEN_RATIO_64 >> 48;

	_Static_assert(OWN_ADDRESS_BITS == 1 << 16, "the shift above");
	return own_addresses[hash >> 6] >> (hash & 63) & 1;
}

/*
 * Whether a packet at its first hook is to pass another one. Of one that comes in not if it is for the node itself, for others
 * on the link, or a fragment, which netfilter puts together with its others.
 */
static __always_inline bool goes_on(const struct __sk_buff *ctx, __u32 class, enum hook hook, __u32 flags,
				    const __u8 *destination)
{
	__u32 type = ctx->pkt_type;

	if (flags & FLAG_FRAGMENT)
		return false;
	if (hook == HOOK_EGRESS)
		return true;
	if (type != PACKET_HOST && !(type == PACKET_OTHERHOST && class & CLASS_PORT))
		return false;
	return !may_be_own(destination);
}

#endif
