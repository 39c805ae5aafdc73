/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Which packets have another one inside: IP in IP, VXLAN, Geneve, GRE. */
#ifndef TRACER_TUNNEL_BPF_H
#define TRACER_TUNNEL_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "config.bpf.h"
#include "kernel.h"
#include "packet.bpf.h"

#define TUNNEL_HEADER 8 /* VXLAN's, and Geneve's without options */
#define GRE_HEADER 4
#define GRE_WORD 4 /* that each of the flags adds (RFC 2784, RFC 2890) */
/* Flags of GRE that are not looked into: routing and version. */
#define GRE_UNSUPPORTED ((__be16) ~(GRE_CSUM | GRE_KEY | GRE_SEQ))

/* The kinds of header that may come next. */
enum header { ETHERTYPE, IP, EXTENSION, TRANSPORT };

static __always_inline bool is_tunnel_port(const volatile __be16 *ports, __be16 port)
{
	for (int i = 0; i < TUNNEL_PORTS_MAX; i++) {
		if (!ports[i])
			return false;
		if (ports[i] == port)
			return true;
	}
	return false;
}

/* Bytes of the tunnel's header between UDP's and an inner Ethernet header; 0 if there is none. */
static __always_inline __u32 udp_tunnel_header(const struct transport *t, const struct layer *layer)
{
	__u32 first = bpf_ntohl(t->payload[0]);

	if (layer->protocol != IPPROTO_UDP)
		return 0;
	if (first >> 24 & VXLAN_HF_VNI && is_tunnel_port(settings.vxlan_port, t->destination))
		return TUNNEL_HEADER;
	/* Geneve: version, length of options in words, flags, type (RFC 8926, 3.4). */
	if (first >> 30 == 0 && (first & 0xffff) == ETH_P_TEB && is_tunnel_port(settings.geneve_port, t->destination))
		return TUNNEL_HEADER + (first >> 24 & 0x3f) * 4;
	return 0;
}

/* What GRE has inside, then at the layer's offset; TRANSPORT if it is of a kind that is not looked into. */
static __always_inline enum header inside_gre(__be16 flags, __be16 type, struct layer *layer)
{
	if (layer->protocol != IPPROTO_GRE || flags & GRE_UNSUPPORTED)
		return TRANSPORT;
	if (type != bpf_htons(ETH_P_IP) && type != bpf_htons(ETH_P_IPV6) && type != bpf_htons(ETH_P_TEB))
		return TRANSPORT;
	layer->offset += GRE_HEADER;
	if (flags & GRE_CSUM)
		layer->offset += GRE_WORD;
	if (flags & GRE_KEY)
		layer->offset += GRE_WORD;
	if (flags & GRE_SEQ)
		layer->offset += GRE_WORD;
	if (type != bpf_htons(ETH_P_TEB))
		return IP;
	layer->offset += offsetof(struct ethhdr, h_proto);
	return ETHERTYPE;
}

/* What a tunnel's header has inside, then at the layer's offset; TRANSPORT if it is no tunnel's. */
static __always_inline enum header inside_tunnel(const struct transport *t, struct layer *layer)
{
	__be16 flags = t->source, type = t->destination; /* GRE's; read late, clang makes more code of it */

	if (layer->fragment)
		return TRANSPORT;
	if (layer->protocol == IPPROTO_IPIP || layer->protocol == IPPROTO_IPV6)
		return IP;
	__u32 udp = udp_tunnel_header(t, layer);
	if (udp) {
		layer->offset += sizeof(struct udphdr) + udp + offsetof(struct ethhdr, h_proto);
		return ETHERTYPE;
	}
	return inside_gre(flags, type, layer);
}

#endif
