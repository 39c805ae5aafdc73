/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Some qdiscs split a GSO packet when they take it in: tbf_segment(), cake_enqueue(), netem_segment() before it
 * corrupts. They free the packet by consume_skb(), and its segments, new sk_buffs that were at no hook, wait in the
 * queue. So the packet's journey goes on twice, as its first and as its last segment: each waits in the table under
 * the fingerprint that this segment will have, until the segment is dequeued. What lies between the two is not timed.
 */
#ifndef TRACER_SEGMENT_BPF_H
#define TRACER_SEGMENT_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "address.bpf.h"
#include "config.bpf.h"
#include "counter.bpf.h"
#include "evict.bpf.h"
#include "fingerprint.bpf.h"
#include "header.bpf.h"
#include "journey.bpf.h"
#include "kernel.h"
#include "parse_thorough.bpf.h"
#include "slot.bpf.h"

/* In place of a device's index: the pod's end of it. */
#define POD_END 0

/* Whether a device's qdisc splits packets. */
static __always_inline bool device_splits(__u32 ifindex)
{
	const struct device *d = settings.splitting ? find_device(ifindex) : NULL;

	return d && d->splits & SPLITS;
}

struct gso {
	__u16 size, segments;
	__u32 type;
};

static __always_inline void read_gso(struct sk_buff *skb, const struct packet *p, struct gso *gso)
{
	struct skb_shared_info *info = (void *)(skb->head + skb->end);

	gso->size = BPF_CORE_READ(info, gso_size);
	gso->segments = count_segments(p, BPF_CORE_READ(info, gso_segs), gso->size);
	gso->type = BPF_CORE_READ(info, gso_type);
}

/* A journey of one hop, as init_journey(), with the sizes that a tracepoint sees. */
static __always_inline void init_journey_of(struct journey *j, struct sk_buff *skb, const struct packet *p, __u8 hook,
					    __u32 ifindex, __u64 now)
{
	struct gso gso;

	read_gso(skb, p, &gso);
	init_journey(j, p, hook, ifindex, now);
	j->skb_bytes = skb->len;
	j->wire_bytes = skb->len;
	j->segments = gso.segments;
}

/* The fingerprint of a packet's last segment; 0 where it cannot be told, or is the first. */
static __always_inline __u64 last_segment_fingerprint(const struct packet *p, const struct gso *gso)
{
	struct layer layer = { .id = p->id, .protocol = IPPROTO_TCP };
	__u32 before = gso->segments - 1;

	/* UDP's segments differ in nothing that is known beforehand. */
	if (p->flow.protocol != IPPROTO_TCP || p->flags & FLAG_FRAGMENT || gso->segments < 2)
		return 0;
	if (is_ipv4_mapped(p->flow.source) && !(gso->type & SKB_GSO_TCP_FIXEDID))
		layer.id = bpf_htons(bpf_ntohs(p->id) + before);
	return tcp_fingerprint(&layer, bpf_htonl(bpf_ntohl(p->sequence) + before * gso->size));
}

static __always_inline void expect_segment(const struct journey *j, struct slot_state state, __u64 fingerprint,
					   __u64 now)
{
	struct bucket b;
	__u32 slot = bucket_of(fingerprint, &b) ? claim_slot(&b, fingerprint, now) : NO_SLOT;

	if (!is_slot(slot)) {
		count_atomic(COUNT_TABLE_FULL);
		return;
	}
	b.tag[slot] = 0;
	barrier();
	__builtin_memcpy(&b.journey[slot], j, sizeof(*j));
	b.journey[slot].fingerprint = fingerprint;
	b.journey[slot].split_at = j->hops;
	b.journey[slot].segments = 1;
	b.journey[slot].begun_at = 0; /* the packet's own end is counted */
	state.fingerprint = fingerprint;
	b.state[slot] = state;
	barrier();
	b.tag[slot] = fingerprint;
}

/* A packet was split when its qdisc took it in. The segments cannot be dequeued yet: the qdisc's lock is held. */
static __always_inline void expect_segments(const struct journey *j, struct slot_state state, const struct packet *p,
					    const struct gso *gso, __u64 now)
{
	__u64 last = last_segment_fingerprint(p, gso);

	expect_segment(j, state, j->fingerprint, now);
	if (last)
		expect_segment(j, state, last, now);
}

/* Finds the slot in which a first or last segment's journey waits; NO_SLOT for any other segment. */
static __always_inline __u32 find_expected_segment(const struct packet *p, struct bucket *b)
{
	if (!settings.splitting || !bucket_of(p->fingerprint, b))
		return NO_SLOT;
	__u32 slot = find_slot(b, p->fingerprint);
	return is_slot(slot) && b->journey[slot].fingerprint == p->fingerprint ? slot : NO_SLOT;
}

/*
 * A packet without a slot comes out of a qdisc that splits: start and end are the addresses of its IP header and
 * behind its linear data, nonlinear how many bytes follow elsewhere. A first or last segment gets the journey that waits
 * for it; any other gets an unsampled slot, so that the next hook does not take it for one whose ingress was missed.
 *
 * At a pod's end of its device (ifindex POD_END) any other gets none: the next hook is its first. Nor was the packet counted
 * there that was split, so its first and last segment are, by themselves.
 *
 * A function of its own, so that older verifiers look at it once and not for each packet of a bulk dequeue.
 */
__noinline int adopt_segment_at(__u64 key, __u64 start, __u64 end, __u32 nonlinear, __u32 ifindex)
{
	bool in_pod = ifindex == POD_END;
	struct bucket b;
	struct packet p;

	if (!bucket_of(key, &b) || parse_at(start, end, end - start + nonlinear, &p) != PARSED)
		return 0;
	__u32 slot = find_slot(&b, key);
	if (is_slot(slot) && holds_packet(&b, slot, &p)) {
		/* It has a journey, and is queued on another device's account; or it comes out of the pod's qdisc whole. */
		if (in_pod && b.state[slot].hook == HOOK_POD_QUEUE)
			b.state[slot].flags |= FLAG_DEQUEUED;
		return 0;
	}
	slot = move_journey(p.fingerprint, &b, key, p.fingerprint);
	if (is_slot(slot)) {
		struct journey *j = &b.journey[slot];
		j->outer = p.outer;
		j->ip_bytes = p.ip_bytes;
		if (in_pod) {
			j->split_at = 0;
			b.state[slot].flags |= FLAG_DEQUEUED;
			return 0;
		}
		append_hop(&b, slot, HOOK_DEQUEUE, ifindex, bpf_ktime_get_ns(), b.state[slot].flags);
		return 0;
	}
	slot = in_pod ? NO_SLOT : claim_slot(&b, key, 0);
	if (is_slot(slot)) {
		const struct device *device = find_device(ifindex);
		struct slot_state state = { .ifindex = ifindex, .hook = HOOK_DEQUEUE, .flags = FLAG_UNSAMPLED };
		if (device)
			state.flags |= device->flags;
		state.fingerprint = p.fingerprint;
		b.state[slot] = state;
		b.tag[slot] = key;
	}
	return 0;
}

/* The addresses are read as numbers: a pointer is no argument that newer verifiers let a global function have. */
static __always_inline void adopt_segment(__u64 key, struct sk_buff *skb, __u32 ifindex)
{
	__u64 head = (__u64)BPF_CORE_READ(skb, head), data = (__u64)BPF_CORE_READ(skb, data);

	adopt_segment_at(key, head + skb->network_header, data + skb->len - skb->data_len, skb->data_len, ifindex);
}

#endif
