/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * IPsec by policies, without a device: between two hooks the kernel encrypts the packet in place. At the egress the sk_buff is
 * the same, and all that it holds another packet.
 */
#ifndef TRACER_IPSEC_BPF_H
#define TRACER_IPSEC_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_endian.h>

#include "config.bpf.h"
#include "counter.bpf.h"
#include "evict.bpf.h"
#include "journey.bpf.h"
#include "packet.bpf.h"
#include "segment.bpf.h"
#include "send.bpf.h"
#include "slot.bpf.h"

#define ESP_UDP_PORT bpf_htons(4500) /* RFC 3948 */

static __always_inline bool is_ipsec(const struct packet *p)
{
	switch (p->flow.protocol) {
	case IPPROTO_ESP:
	case IPPROTO_AH:
		return true;
	case IPPROTO_UDP:
		return p->flow.source_port == ESP_UDP_PORT || p->flow.destination_port == ESP_UDP_PORT;
	}
	return false;
}

/*
 * Whether a packet at an egress is what IPsec has made of the one that its slot holds: that one was on its way from an ingress,
 * of which the packet still knows, or out of a tunnel's driver.
 */
static __always_inline bool is_encrypted(const struct __sk_buff *ctx, struct slot_state state, const struct packet *p)
{
	if (!is_ipsec(p) || state.flags & FLAG_REPORTED)
		return false;
	return state.hook == HOOK_XMIT || (state.hook == HOOK_INGRESS && ctx->ingress_ifindex);
}

/*
 * keep_or_evict() for an egress. From an encrypted packet on, the slot is found by what the packet is now. Its flow stays what
 * it was before.
 */
static __always_inline __u32 keep_encrypted_or_evict(const struct __sk_buff *ctx, struct bucket *b, __u32 slot,
						     __u64 key, struct packet *p)
{
	if (!is_slot(slot))
		return NO_SLOT;
	slot = masked_index(slot, SLOTS_PER_BUCKET);
	if (b->tag[slot] != key)
		return NO_SLOT;
	if (holds_packet(b, slot, p))
		return slot;
	if (!is_encrypted(ctx, b->state[slot], p)) {
		evict_mismatch(b, slot);
		return NO_SLOT;
	}
	p->flags |= FLAG_ENCAP;
	b->state[slot].fingerprint = p->fingerprint;
	if (b->state[slot].flags & FLAG_UNSAMPLED)
		return slot;
	p->flow = b->journey[slot].last;
	b->journey[slot].fingerprint = p->fingerprint;
	return slot;
}

/* Whether a large packet was freed since each of its segments is encrypted by itself: xfrm_output_gso() uses kfree_skb(). */
static __always_inline bool is_ipsec_split(struct sk_buff *skb, const struct packet *p, __u64 location)
{
	struct gso gso;

	if (location - settings.ipsec_split[0] >= settings.ipsec_split[1])
		return false;
	read_gso(skb, p, &gso);
	return gso.size;
}

/* Ends the journey of such a packet, if it has one. The segments come to the egress as packets of the node's own. */
static __always_inline void end_ipsec_split(struct bucket *b, __u32 slot)
{
	if (!is_slot(slot))
		return;
	struct slot_state state = b->state[slot];
	if (state.flags & (FLAG_UNSAMPLED | FLAG_REPORTED)) {
		clear_slot(b, slot);
		return;
	}
	__u64 now = bpf_ktime_get_ns();
	append_hop(b, slot, HOOK_FREE, state.ifindex, now, state.flags);
	count_atomic(COUNT_SPLIT);
	send_record(&b->journey[slot], RECORD_SPLIT, 0, 0, now);
	clear_slot(b, slot);
}

#endif
