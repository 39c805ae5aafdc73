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

static __noinline enum parsed parse_thoroughly(struct __sk_buff *ctx, bool ethernet, struct packet *p)
{
	struct source from = { .ctx = ctx, .length = ctx->len };

	if (ethernet)
		return parse_headers(&from, ETHERTYPE, offsetof(struct ethhdr, h_proto), p);
	return parse_headers(&from, IP, l3_ip_offset(ctx), p);
}

/* Parses what a tc program sees; ethernet: whether the device has a link-layer header. */
static __always_inline enum parsed parse_tc(struct __sk_buff *ctx, bool ethernet, struct packet *p)
{
	/* Cheap, and keeps ARP and its like from the thorough parser; VLAN tags may still stand in the frame. */
	switch (ctx->protocol) {
	case bpf_htons(ETH_P_IP):
	case bpf_htons(ETH_P_IPV6):
		if (parse_quickly(ctx, ethernet, p))
			return PARSED;
		return parse_thoroughly(ctx, ethernet, p);
	case bpf_htons(ETH_P_8021Q):
	case bpf_htons(ETH_P_8021AD):
		return parse_thoroughly(ctx, ethernet, p);
	default:
		return NOT_IP;
	}
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
	struct source from = { .start = network_header(skb), .end = linear_end(skb) };

	from.length = from.end + skb->data_len - from.start;
	return parse_headers(&from, IP, 0, p);
}

#endif
