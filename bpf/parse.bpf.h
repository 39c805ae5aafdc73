/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * From bytes to the innermost flow and its fingerprint: the quick parser first where it can, else the thorough one.
 * Nothing here writes to a packet or pulls its data.
 */
#ifndef TRACER_PARSE_BPF_H
#define TRACER_PARSE_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "compat.bpf.h"
#include "kernel.h"
#include "packet.bpf.h"
#include "parse_quick.bpf.h"
#include "parse_thorough.bpf.h"

/* Parses what a tc program sees; ethernet: whether the device has a link-layer header. */
static __always_inline enum parsed parse_tc(struct __sk_buff *ctx, bool ethernet, struct packet *p)
{
	barrier_data(p); /* or clang keeps it in registers, some of which only one path sets */
	/* Cheap, and keeps ARP and its like from the thorough parser; VLAN tags may still stand in the frame. */
	switch (ctx->protocol) {
	case bpf_htons(ETH_P_IP):
	case bpf_htons(ETH_P_IPV6):
		if (parse_quickly(ctx, ethernet, p))
			return PARSED;
		break;
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		break;
	default:
		return NOT_IP;
	}
	if (ethernet)
		return parse_thoroughly(ctx, ETHERTYPE, offsetof(struct ethhdr, h_proto), p);
	return parse_thoroughly(ctx, IP, l3_ip_offset(ctx), p);
}

static __always_inline bool is_ip(struct sk_buff *skb)
{
	return skb->protocol == bpf_htons(ETH_P_IP) || skb->protocol == bpf_htons(ETH_P_IPV6);
}

static __always_inline __u64 network_header(struct sk_buff *skb)
{
	return (__u64)skb->head + skb->network_header;
}

static __always_inline __u64 linear_end(struct sk_buff *skb)
{
	return (__u64)skb->data + skb->len - skb->data_len;
}

/* Parses the IP packet that a tracepoint sees, from the network header that the stack has set. */
static __always_inline enum parsed parse_skb(struct sk_buff *skb, struct packet *p)
{
	__u64 start = network_header(skb), end = linear_end(skb);
	__u32 length = end + skb->data_len - start;

	barrier_data(p); /* as above */
	if (parse_plain_at(start, end, length, p))
		return PARSED;
	return parse_at(start, end, length, p);
}

#endif
