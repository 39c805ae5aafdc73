/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The thorough parser: options, extension headers, fragments, VLANs, nested tunnels, data outside the linear part.
 * It copies each header through a helper, from the tc context or, in tracepoints, from kernel memory.
 */
#ifndef TRACER_PARSE_THOROUGH_BPF_H
#define TRACER_PARSE_THOROUGH_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "fingerprint.bpf.h"
#include "header.bpf.h"
#include "packet.bpf.h"
#include "tunnel.bpf.h"
#include "verifier.bpf.h"

/* Tunnels around a pod's packet that are looked into. */
#define TUNNELS_MAX 2
/* Headers that are read: Ethernet type, IP and transport of three layers, and three tags or extensions. */
#define HEADERS_MAX 12

struct source {
	struct __sk_buff *ctx;
	__u64 start, end; /* without ctx: addresses of the first byte and behind the last that may be read */
	__u32 length; /* of the packet from its first byte, whether linear or not */
};

static __always_inline bool load(const struct source *from, __u32 offset, void *to, __u32 size)
{
	if (from->ctx)
		return !bpf_skb_load_bytes(from->ctx, offset, to, size);
	/* By addresses, of which the verifier knows nothing: by lengths it would follow a path for each. */
	return from->start + offset + size <= from->end &&
	       !bpf_probe_read_kernel(to, size, (const void *)(from->start + offset));
}

union header_bytes {
	__u64 word;
	__be16 ethertype;
	struct iphdr ipv4;
	struct ipv6hdr ipv6;
	struct {
		__u8 protocol, length;
		__be16 fragment;
		__be32 id;
	} extension;
	struct udphdr udp;
	struct transport transport;
};

static __always_inline bool read_ip(const struct source *from, struct layer *layer, union header_bytes *u,
				    struct packet *p, bool outermost, enum header *next)
{
	if (!load(from, layer->offset, u, sizeof(u->ipv4)))
		return false;
	if (outermost)
		p->outer = outer_word(u->word);
	*next = TRANSPORT;
	if (u->ipv4.version == 4)
		return decode_ipv4(&u->ipv4, from->length, p, layer);
	if (u->ipv4.version != 6)
		return false;
	*next = EXTENSION;
	return load(from, layer->offset, u, sizeof(u->ipv6)) && decode_ipv6(&u->ipv6, from->length, p, layer);
}

static __always_inline bool read_extension(const struct source *from, struct layer *layer, union header_bytes *u,
					   struct packet *p, enum header *next)
{
	if (layer->protocol != IPPROTO_HOPOPTS && layer->protocol != IPPROTO_ROUTING &&
	    layer->protocol != IPPROTO_DSTOPTS && layer->protocol != IPPROTO_FRAGMENT) {
		*next = TRANSPORT;
		return true;
	}
	if (!load(from, layer->offset, u, sizeof(u->extension)))
		return false;
	layer->offset += 8;
	if (layer->protocol == IPPROTO_FRAGMENT) {
		p->flags |= FLAG_FRAGMENT;
		layer->id = u->extension.id;
		layer->fragment = bpf_ntohs(u->extension.fragment) >> 3;
		if (layer->fragment)
			*next = TRANSPORT;
	} else {
		layer->offset += u->extension.length * 8;
	}
	layer->protocol = u->extension.protocol;
	return true;
}

static __always_inline bool read_transport(const struct source *from, const struct layer *layer, union header_bytes *u)
{
	if (layer->fragment)
		return true;
	if (!load(from, layer->offset, u, sizeof(u->udp)) && has_transport(layer->protocol))
		return false;
	/* Shorter ones have no payload to tell them apart by. */
	load(from, layer->offset + sizeof(u->udp), &u->transport.payload, sizeof(u->transport.payload));
	return true;
}

static __always_inline void make_layer_unknown(struct layer *layer)
{
	layer->offset = make_unknown(layer->offset);
	layer->id = make_unknown(layer->id);
	layer->fragment = make_unknown(layer->fragment);
	layer->protocol = make_unknown(layer->protocol);
}

/*
 * A loop that reads one header at a time, and no functions within functions: all paths meet again at the head of the
 * loop, so the verifier's work grows with their number and not exponentially.
 */
static __always_inline enum parsed parse_headers(const struct source *from, enum header header, __u32 offset,
						 struct packet *p)
{
	struct layer layer = { .offset = offset };
	__u32 tunnels = 0;

	/* Zeroes, but unknown to the verifier: it would tell paths with a known 0 from those with what was decoded. */
	__u64 zero = settings.zero, *words = (__u64 *)p;
#pragma clang loop unroll(full)
	for (__u32 i = 0; i < sizeof(*p) / sizeof(*words); i++)
		words[i] = zero;
	for (int i = 0; i < HEADERS_MAX; i++) {
		union header_bytes u = {};
		switch (header) {
		case ETHERTYPE:
			if (!load(from, layer.offset, &u, sizeof(u.ethertype)))
				return MALFORMED;
			if (u.ethertype == bpf_htons(ETH_P_8021Q) || u.ethertype == bpf_htons(ETH_P_8021AD)) {
				layer.offset += VLAN_HLEN;
				break;
			}
			if (u.ethertype != bpf_htons(ETH_P_IP) && u.ethertype != bpf_htons(ETH_P_IPV6))
				return NOT_IP;
			layer.offset += sizeof(u.ethertype);
			header = IP;
			break;
		case IP:
			if (!read_ip(from, &layer, &u, p, !tunnels, &header))
				return MALFORMED;
			break;
		case EXTENSION:
			if (!read_extension(from, &layer, &u, p, &header))
				return MALFORMED;
			break;
		case TRANSPORT:
			if (!read_transport(from, &layer, &u))
				return MALFORMED;
			header = inside_tunnel(&u.transport, &layer);
			if (header == TRANSPORT) {
				decode_transport(&u.transport, &layer, p);
				return PARSED;
			}
			p->flags |= FLAG_ENCAP;
			if (++tunnels > TUNNELS_MAX)
				return TOO_DEEP;
		}
		/* Not at the head, or clang would fall through into the loop, which 5.10 and 6.1 refuse. */
		header = make_unknown(header);
		tunnels = make_unknown(tunnels);
		p->flags = make_unknown(p->flags);
		make_layer_unknown(&layer);
	}
	return TOO_DEEP;
}

#endif
