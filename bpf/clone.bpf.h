/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The kernel may go on with a clone: skb_expand_head() does where a forwarded IPv6 packet lacks room for another
 * header, and frees the original by consume_skb(). Then the very next packet on this CPU is the clone. So a journey
 * whose packet is consumed between two devices stays for that long, and the clone's first hook continues it.
 */
#ifndef TRACER_CLONE_BPF_H
#define TRACER_CLONE_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "counter.bpf.h"
#include "evict.bpf.h"
#include "journey.bpf.h"
#include "packet.bpf.h"
#include "slot.bpf.h"

/* A packet that was consumed, and whose clone may come next. */
struct expected_clone {
	__u64 key; /* of the original; 0: none */
	__u64 fingerprint;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct expected_clone);
} tracer_clones SEC(".maps");

/* The journey in a slot lost its packet. The one that was expected before never came. */
static __always_inline void expect_clone(struct bucket *b, __u32 slot, __u64 key)
{
	__u32 zero = 0;
	struct expected_clone *e = bpf_map_lookup_elem(&tracer_clones, &zero);

	if (!e)
		return;
	count_atomic(COUNT_CLONED);
	if (e->key) {
		struct bucket before;
		__u32 old = bucket_of(e->key, &before) ? find_slot(&before, e->key) : NO_SLOT;
		/* Unless its address was used again since. */
		if (is_slot(old) && before.journey[old].fingerprint == e->fingerprint)
			evict_slot(&before, old);
	}
	e->fingerprint = b->journey[slot].fingerprint;
	e->key = key;
}

/* Global, so that the verifier looks at it by itself. */
__noinline int move_to_clone(__u64 from, __u64 key, __u64 fingerprint)
{
	struct bucket b;

	return bucket_of(key, &b) ? move_journey(from, &b, key, fingerprint) : NO_SLOT;
}

/* Moves a journey that lost its packet to the clone that the packet goes on as; its slot, NO_SLOT if there is none. */
static __always_inline __u32 adopt_clone(__u64 key, const struct packet *p)
{
	__u32 zero = 0;
	struct expected_clone *e = bpf_map_lookup_elem(&tracer_clones, &zero);

	if (!e || !e->key || e->fingerprint != p->fingerprint)
		return NO_SLOT;
	__u64 from = e->key;
	e->key = 0;
	return move_to_clone(from, key, p->fingerprint);
}

#endif
