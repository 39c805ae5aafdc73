/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The in-flight table: one slot for each packet that is inside this node, found by the address of its sk_buff in
 * a bucket of four. An array and not a hash map, which costs forty times as much.
 *
 * One CPU owns an sk_buff at a time, so a slot has one writer, except that a newcomer may take over a slot that
 * looks stale, and two newcomers may take the same empty slot. No atomics here return a result (5.10 refuses
 * them): the tag is cleared before the slot is written and set after it, and every later hook compares the
 * fingerprint in the slot's state with the one in the journey.
 *
 * barrier() keeps the compiler from reordering these writes; it orders nothing between two cores of an arm64 machine. A
 * program that continues a journey on another CPU needs no more: its sk_buff came from there through a lock, which does
 * order them. The scan in user space (internal/loader/inflight.go) takes no lock, so it may see the writes in any order. It
 * compares tag and state before and after it reads the journey, and the fingerprint in the state with the journey's.
 */
#ifndef TRACER_SLOT_BPF_H
#define TRACER_SLOT_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "config.bpf.h"
#include "fingerprint.bpf.h"
#include "packet.bpf.h"
#include "record.h"
#include "verifier.bpf.h"

#define SECOND 1000000000ull

/* A variable, at an address that programs know without looking it up; aligned for user space, which maps it by pages. */
struct bucket_slots inflight[BUCKETS] __attribute__((aligned(4096)));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct bucket_journeys);
} tracer_journeys SEC(".maps");

/* Where a bucket's slots are: slot i has the i-th of each. */
struct bucket {
	__u64 *tag;
	struct slot_state *state;
	struct journey *journey;
	__u32 index;
};

/* What a look-up returns that finds no slot. */
#define NO_SLOT SLOTS_PER_BUCKET

/* Whether a look-up found one. By "<" and not by "!=", so that the verifier knows that it is within the bucket. */
static __always_inline bool is_slot(__u32 slot)
{
	return slot < NO_SLOT;
}

/*
 * An sk_buff's address as a number. The verifier refuses arithmetic on a kernel pointer except the difference of
 * two, which it takes for an arbitrary number; so the table's keys are distances from one fixed address.
 */
static __always_inline __u64 key_of(const void *skb)
{
	__u64 key = (__u64)skb;

	asm volatile("%0 -= %1" : "+r"(key) : "r"(&settings));
	return key;
}

/* Never false: it is there for the verifier, which wants the result of a look-up in a map checked. */
static __always_inline bool bucket_of(__u64 key, struct bucket *b)
{
	/*
	 * sk_buffs lie 256 bytes apart in their slabs, those of TCP's own packets 512. All within 16 KiB have the same page of
	 * tags and states, 64 buckets in an order that differs from page to page: so the few slabs in use touch few pages.
	 * Without the reordering, TCP's packets (512 apart) would use only every other bucket.
	 */
	__u64 i = (key >> 14) * GOLDEN_RATIO_64 >> 50 ^ (key >> 8 & 63);
	__u32 index = i;
	struct bucket_journeys *j = bpf_map_lookup_elem(&tracer_journeys, &index);

	_Static_assert(BUCKETS == 1 << 14, "the shift above");
	if (!j)
		return false;
	struct bucket_slots *s = &inflight[masked_index(i, BUCKETS)];
	barrier_var(s); /* or clang works out the address each time that it is used */
	*b = (struct bucket){ .tag = s->tag, .state = s->state, .journey = j->journey, .index = i };
	return true;
}

static __always_inline __u32 find_slot(const struct bucket *b, __u64 key)
{
	__u32 slot = NO_SLOT;

	if (b->tag[0] == key)
		slot = 0;
	else if (b->tag[1] == key)
		slot = 1;
	else if (b->tag[2] == key)
		slot = 2;
	else if (b->tag[3] == key)
		slot = 3;
	/* Otherwise the verifier would walk through all that comes after once for each slot. */
	return make_unknown_by(slot, key);
}

static __always_inline bool is_queued(__u8 hook)
{
	return hook == HOOK_EGRESS || hook == HOOK_DEQUEUE;
}

/* Where the last of so many hops stands in a journey. */
static __always_inline __u32 last_hop(__u8 hops)
{
	__u32 i = hops - 1;

	return (i < HOPS_FIRST ? i : HOPS_FIRST + (i & 1)) & (HOPS_MAX - 1);
}

static __always_inline bool is_stale(const struct bucket *b, __u32 slot, __u64 now)
{
	const struct journey *j = &b->journey[slot];
	__u64 age = now - j->time_ns[last_hop(j->hops)];

	__u8 hook = b->state[slot].hook;
	bool queued = is_queued(hook) || hook == HOOK_POD_QUEUE;

	return age > (queued ? STALE_QUEUED_SECONDS : STALE_SECONDS) * SECOND;
}

static __always_inline bool holds_packet(const struct bucket *b, __u32 slot, const struct packet *p)
{
	if (b->state[slot].fingerprint != (__u16)p->fingerprint)
		return false;
	return b->state[slot].flags & FLAG_UNSAMPLED || b->journey[slot].fingerprint == p->fingerprint;
}

#endif
