/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * By what a packet is known again: at a tc hook by a fingerprint of the innermost packet, which forwarding, NAT and
 * encapsulation leave alone; at a tracepoint by a word of its outermost IP header, which costs no parsing.
 */
#ifndef TRACER_FINGERPRINT_BPF_H
#define TRACER_FINGERPRINT_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "packet.bpf.h"

/* 2^64 over the golden ratio: a multiplier that hashes well (Knuth, The Art of Computer Programming, 6.4). */
#define GOLDEN_RATIO_64 0x9e3779b97f4a7c15ull

static __always_inline __u64 mix(__u64 a, __u64 b)
{
	a = (a ^ b) * GOLDEN_RATIO_64;
	return a ^ a >> 29;
}

/*
 * The first eight bytes of an IP header less what routers and AQMs rewrite (TOS, traffic class, hop limit): length
 * and id, by which a tracepoint tells a packet from another at the same address, without parsing.
 */
static __always_inline __u64 outer_word(__u64 word)
{
	if ((word & 0xf0) == 0x60)
		return word & bpf_cpu_to_be64(0xf00fffffffffff00);
	return word & bpf_cpu_to_be64(0xff00ffffffffffff);
}

static __always_inline __u64 layer_fingerprint(const struct layer *layer)
{
	return mix(0, (__u64)layer->id << 24 | layer->fragment << 8 | layer->protocol);
}

static __always_inline __u64 tcp_fingerprint(const struct layer *layer, __be32 sequence)
{
	return mix(layer->protocol, (__u64)layer->id << 32 | sequence);
}

/* NAT rewrites the checksum, UDP segmentation the length. */
static __always_inline __u64 udp_fingerprint(const struct layer *layer, __u64 payload)
{
	return mix(layer_fingerprint(layer), payload);
}

/* Of type, code and sequence; NAT rewrites checksum and id. */
static __always_inline __u64 icmp_fingerprint(const struct layer *layer, const struct transport *t, __u64 payload)
{
	return mix(mix(layer_fingerprint(layer), (__u64)t->source << 16 | (bpf_ntohl(t->word) & 0xffff)), payload);
}

#endif
