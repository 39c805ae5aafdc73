/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Headers of packets that were dropped or slow, for a file that other programs read. These programs are loaded and attached only
 * while somebody asks for headers; they come behind the others at the same tracepoints, whose slots they read and never write.
 */
#ifndef TRACER_CAPTURE_BPF_H
#define TRACER_CAPTURE_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "drop.bpf.h"
#include "kernel.h"
#include "parse.bpf.h"
#include "record.h"
#include "slot.bpf.h"
#include "verifier.bpf.h"

/* Apart from the records, which must not be lost for it. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} tracer_captured SEC(".maps");

/* As BULK_MAX, but for packets that GSO splits behind the queue alone, which are large: others are read when they are handed on. */
#define CAPTURE_BULK 4

/* Nanoseconds from its first hook on for which a packet must have been here. */
volatile const __u64 capture_slower_ns SEC(".rodata.capture");

/* User space cuts off what is no header. The reader looks by a timer. */
static __always_inline void capture(struct sk_buff *skb, __u8 hook, __u32 ifindex, __u64 now)
{
	__u64 start = network_header(skb), end = linear_end(skb);

	if (end <= start)
		return;
	struct captured *c = bpf_ringbuf_reserve(&tracer_captured, sizeof(*c), 0);
	if (!c)
		return;
	__u64 size = end - start;
	barrier_var(size);
	if (size > CAPTURED_BYTES)
		size = CAPTURED_BYTES;
	c->time_ns = now;
	c->ifindex = ifindex;
	c->length = end + skb->data_len - start;
	c->size = size;
	c->hook = hook;
	if (bpf_probe_read_kernel(c->bytes, size, (const void *)start))
		c->size = 0;
	bpf_ringbuf_submit(c, BPF_RB_NO_WAKEUP);
}

static __always_inline void capture_dropped(struct sk_buff *skb, __u32 reason)
{
	if (!is_ignored(reason) && is_ip(skb))
		capture(skb, HOOK_FREE, 0, bpf_ktime_get_ns());
}

/* A packet at a hook at which its journey has just been told of it. */
static __always_inline void capture_slow(struct sk_buff *skb, enum hook hook)
{
	__u64 key = key_of(skb);
	struct bucket b;

	if (!bucket_of(key, &b))
		return;
	__u32 slot = find_slot(&b, key);
	if (!is_slot(slot))
		return;
	slot = masked_index(slot, SLOTS_PER_BUCKET);
	struct slot_state state = b.state[slot];
	if (state.flags & FLAG_UNSAMPLED || state.hook != hook)
		return;
	struct journey *j = &b.journey[slot];
	__u64 now = j->time_ns[last_hop(j->hops)];
	if (now - j->time_ns[0] >= capture_slower_ns)
		capture(skb, hook, state.ifindex, now);
}

#endif
