/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Whether a packet that was last seen where nothing queues is still there: it may wait for user space (NFQUEUE), for its next
 * hop's link address, for a cipher. Its slot alone does not tell, since it stays until the sk_buff's address is used again. But the
 * sk_buff does: freed or read from a socket it has lost its route, and used again it is another packet.
 */
#ifndef TRACER_HELD_BPF_H
#define TRACER_HELD_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "compat.bpf.h"
#include "config.bpf.h"
#include "end.bpf.h"
#include "kernel.h"
#include "parse_thorough.bpf.h"
#include "record.h"
#include "slot.bpf.h"

/* Where the address from which keys are counted becomes a number: see key_of(). */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} tracer_origin SEC(".maps");

static __always_inline struct sk_buff *skb_of(__u64 key)
{
	__u32 zero = 0;
	volatile __u64 *origin = bpf_map_lookup_elem(&tracer_origin, &zero);

	if (!origin)
		return NULL;
	*origin = (__u64)&settings;
	return (struct sk_buff *)(*origin + key);
}

/* Whether what is at the sk_buff's address has a route to go on by, and is the slot's packet. */
static __always_inline bool is_held(struct sk_buff *skb, const struct bucket *b, __u32 slot)
{
	struct packet p;
	unsigned long route = BPF_CORE_READ(skb, _skb_refdst);

	if (!is_onward_route(route, BPF_CORE_READ(skb, protocol)))
		return false;
	__u64 start = (__u64)BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	__u32 nonlinear = BPF_CORE_READ(skb, data_len);
	__u64 end = (__u64)BPF_CORE_READ(skb, data) + BPF_CORE_READ(skb, len) - nonlinear;
	return parse_at(start, end, end - start + nonlinear, &p) == PARSED && holds_packet(b, slot, &p);
}

/*
 * The answer for the packet whose key stands in the place of a packet, behind an Ethernet header: 1 if it is held. If it is gone,
 * and that was the end of its journey, the journey is sent.
 */
static __always_inline int answer_held(struct __sk_buff *ctx)
{
	struct bucket b;
	__u64 key;

	if (bpf_skb_load_bytes(ctx, ETH_HLEN, &key, sizeof(key)) || !bucket_of(key, &b))
		return 0;
	__u32 slot = find_slot(&b, key);
	struct sk_buff *skb = skb_of(key);
	if (!is_slot(slot) || !skb)
		return 0;
	struct slot_state state = b.state[slot];
	if (state.flags & (FLAG_UNSAMPLED | FLAG_REPORTED))
		return 0;
	if (is_held(skb, &b, slot))
		return 1;
	if (state.hook == HOOK_INGRESS)
		end_behind_ingress(key);
	return 0;
}

#endif
