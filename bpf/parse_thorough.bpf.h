/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The thorough parser: options, extension headers, fragments, VLANs, nested tunnels, data outside the linear part.
 * It copies each header through a helper, from the tc context or, in tracepoints, from kernel memory.
 */
#ifndef TRACER_PARSE_THOROUGH_BPF_H
#define TRACER_PARSE_THOROUGH_BPF_H

#include <stdbool.h>
#include <stddef.h>
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

/*
 * Where a thorough parse stands. It is kept in a map, of whose contents the verifier knows nothing: so it looks at the step
 * from one header to the next once, as a function of its own, and not again for all that was read before.
 */
struct parser {
	struct packet packet;
	struct layer layer;
	__u32 next; /* enum header */
	__u32 tunnels;
	/* In tracepoints: addresses of the first byte and behind the last that may be read. A number here, whatever it was. */
	__u64 start, end;
	__u32 length; /* of the packet from its first byte, whether linear or not */
	__u32 in_use;
};

/*
 * tc programs run in softirq or with softirqs disabled, one at a time on a CPU. Tracepoints may interrupt each other: a task,
 * a softirq and an interrupt. Neither holds with PREEMPT_RT, where programs that share a CPU may mix two packets' headers: then
 * a fingerprint is of neither, and the journey ends as a mismatch.
 */
enum { TRACEPOINT_PARSERS = 4 };

struct parsers {
	struct parser tc;
	struct parser tracepoint[TRACEPOINT_PARSERS];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct parsers);
} tracer_parsers SEC(".maps");

static __always_inline struct parsers *parsers_of_cpu(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&tracer_parsers, &zero);
}

static __always_inline bool load(struct __sk_buff *ctx, const struct parser *s, __u32 offset, void *to, __u32 size)
{
	if (ctx)
		return !bpf_skb_load_bytes(ctx, offset, to, size);
	return s->start + offset + size <= s->end &&
	       !bpf_probe_read_kernel(to, size, (const void *)(s->start + offset));
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

static __always_inline bool read_ip(struct __sk_buff *ctx, struct parser *s, struct layer *layer, union header_bytes *u,
				    enum header *next)
{
	if (!load(ctx, s, layer->offset, u, sizeof(u->ipv4)))
		return false;
	if (!s->tunnels)
		s->packet.outer = outer_word(u->word);
	*next = TRANSPORT;
	if (u->ipv4.version == 4)
		return decode_ipv4(&u->ipv4, s->length, &s->packet, layer);
	if (u->ipv4.version != 6)
		return false;
	*next = EXTENSION;
	return load(ctx, s, layer->offset, u, sizeof(u->ipv6)) && decode_ipv6(&u->ipv6, s->length, &s->packet, layer);
}

static __always_inline bool read_extension(struct __sk_buff *ctx, struct parser *s, struct layer *layer,
					   union header_bytes *u, enum header *next)
{
	if (layer->protocol != IPPROTO_HOPOPTS && layer->protocol != IPPROTO_ROUTING &&
	    layer->protocol != IPPROTO_DSTOPTS && layer->protocol != IPPROTO_FRAGMENT) {
		*next = TRANSPORT;
		return true;
	}
	if (!load(ctx, s, layer->offset, u, sizeof(u->extension)))
		return false;
	layer->offset += 8;
	if (layer->protocol == IPPROTO_FRAGMENT) {
		s->packet.flags |= FLAG_FRAGMENT;
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

static __always_inline bool read_transport(struct __sk_buff *ctx, const struct parser *s, const struct layer *layer,
					   union header_bytes *u)
{
	if (layer->fragment)
		return true;
	if (!load(ctx, s, layer->offset, u, sizeof(u->udp)) && has_transport(layer->protocol))
		return false;
	/* Shorter ones have no payload to tell them apart by. */
	load(ctx, s, layer->offset + sizeof(u->udp), &u->transport.payload, sizeof(u->transport.payload));
	return true;
}

/* What parse_header() returns where another header follows. */
enum { MORE = -1 };

/*
 * Reads the next header, of what a tc program sees or without ctx from kernel memory. Returns MORE, or how parsing ended
 * (enum parsed).
 */
static __always_inline int parse_header(struct __sk_buff *ctx, struct parser *s)
{
	struct layer layer = s->layer;
	enum header next = s->next;
	union header_bytes u = {};

	switch (next) {
	case ETHERTYPE:
		if (!load(ctx, s, layer.offset, &u, sizeof(u.ethertype)))
			return MALFORMED;
		if (u.ethertype == bpf_htons(ETH_P_8021Q) || u.ethertype == bpf_htons(ETH_P_8021AD)) {
			layer.offset += VLAN_HLEN;
			break;
		}
		if (u.ethertype != bpf_htons(ETH_P_IP) && u.ethertype != bpf_htons(ETH_P_IPV6))
			return NOT_IP;
		layer.offset += sizeof(u.ethertype);
		next = IP;
		break;
	case IP:
		if (!read_ip(ctx, s, &layer, &u, &next))
			return MALFORMED;
		break;
	case EXTENSION:
		if (!read_extension(ctx, s, &layer, &u, &next))
			return MALFORMED;
		break;
	case TRANSPORT:
		if (!read_transport(ctx, s, &layer, &u))
			return MALFORMED;
		next = inside_tunnel(&u.transport, &layer);
		if (next == TRANSPORT) {
			decode_transport(&u.transport, &layer, &s->packet);
			return PARSED;
		}
		s->packet.flags |= FLAG_ENCAP;
		if (++s->tunnels > TUNNELS_MAX)
			return TOO_DEEP;
	}
	s->layer = layer;
	s->next = next;
	return MORE;
}

static __always_inline void init_parser(struct parser *s, enum header first, __u32 offset, __u32 length)
{
	__builtin_memset(&s->packet, 0, sizeof(s->packet));
	s->layer = (struct layer){ .offset = offset };
	s->next = first;
	s->tunnels = 0;
	s->length = length;
}

/*
 * Global functions, each of which the verifier looks at by itself. Newer ones let no pointer into the kernel be an argument:
 * so the packet's place is in the parser.
 */
__noinline int parse_header_tc(struct __sk_buff *ctx)
{
	struct parsers *all = parsers_of_cpu();

	return all ? parse_header(ctx, &all->tc) : NOT_IP;
}

__noinline int parse_header_at(__u32 index)
{
	struct parsers *all = parsers_of_cpu();

	return all ? parse_header(NULL, &all->tracepoint[index & (TRACEPOINT_PARSERS - 1)]) : NOT_IP;
}

/* Parses what a tc program sees. */
static __always_inline enum parsed parse_thoroughly(struct __sk_buff *ctx, enum header first, __u32 offset,
						    struct packet *p)
{
	struct parsers *all = parsers_of_cpu();
	int result = MORE;

	if (!all)
		return NOT_IP;
	init_parser(&all->tc, first, offset, ctx->len);
	for (int i = 0; i < HEADERS_MAX && result == MORE; i++)
		result = parse_header_tc(ctx);
	*p = all->tc.packet;
	return result == MORE ? TOO_DEEP : result;
}

/*
 * Parses an IP packet in kernel memory: start is the address of its IP header, end that behind its linear data, length how
 * long it is wherever its data are.
 */
static __always_inline enum parsed parse_at(__u64 start, __u64 end, __u32 length, struct packet *p)
{
	struct parsers *all = parsers_of_cpu();
	int result = MORE;
	__u32 index = 0;

	if (!all)
		return NOT_IP;
	/* A program that interrupts between this test and the assignment is done before we go on. */
	while (index < TRACEPOINT_PARSERS && all->tracepoint[index].in_use)
		index++;
	if (index >= TRACEPOINT_PARSERS)
		return TOO_DEEP;
	struct parser *s = &all->tracepoint[index];
	s->in_use = 1;
	barrier();
	init_parser(s, IP, 0, length);
	s->start = start;
	s->end = end;
	for (int i = 0; i < HEADERS_MAX && result == MORE; i++)
		result = parse_header_at(index);
	*p = s->packet;
	barrier();
	s->in_use = 0;
	return result == MORE ? TOO_DEEP : result;
}

#endif
