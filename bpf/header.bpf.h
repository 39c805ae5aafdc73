/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* One header at a time: IPv4, IPv6, and the layer above. */
#ifndef TRACER_HEADER_BPF_H
#define TRACER_HEADER_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "address.bpf.h"
#include "fingerprint.bpf.h"
#include "kernel.h"
#include "packet.bpf.h"

/* Ports are 0 where the protocol has none. */
static __always_inline void set_ports(struct flow *flow, __u8 protocol, __be32 ports)
{
	__u64 *to = (__u64 *)&flow->source_port;

	*to = (__u64)protocol << 32 | ports;
}

/* Whether all packets of a protocol have the eight bytes of struct transport that are no payload. */
static __always_inline bool has_transport(__u8 protocol)
{
	return protocol == IPPROTO_TCP || protocol == IPPROTO_UDP || protocol == IPPROTO_ICMP ||
	       protocol == IPPROTO_ICMPV6;
}

static __always_inline bool decode_ipv4(const struct iphdr *ip, __u32 length, struct packet *p, struct layer *next)
{
	__u32 header = ip->ihl * 4, total = bpf_ntohs(ip->tot_len);

	/* A GSO packet beyond 64 KiB has total length 0. */
	if (header < sizeof(*ip) || (total && total < header) || next->offset + total > length)
		return false;
	map_ipv4(p->flow.source, ip->saddr);
	map_ipv4(p->flow.destination, ip->daddr);
	p->ip_bytes = total ? total : length - next->offset;
	p->flags &= ~FLAG_FRAGMENT;
	if (ip->frag_off & bpf_htons(IP_OFFSET | IP_MF))
		p->flags |= FLAG_FRAGMENT;
	next->offset += header;
	next->id = ip->id;
	next->fragment = bpf_ntohs(ip->frag_off) & IP_OFFSET;
	next->protocol = ip->protocol;
	return true;
}

static __always_inline bool decode_ipv6(const struct ipv6hdr *ip, __u32 length, struct packet *p, struct layer *next)
{
	__u32 payload = bpf_ntohs(ip->payload_len);

	if (next->offset + sizeof(*ip) + payload > length)
		return false;
	copy_ipv6(&p->flow, &ip->saddr);
	p->ip_bytes = payload ? sizeof(*ip) + payload : length - next->offset;
	p->flags &= ~FLAG_FRAGMENT;
	next->offset += sizeof(*ip);
	next->id = bpf_ntohl(*(const __be32 *)ip) & IPV6_FLOWLABEL_MASK;
	next->fragment = 0;
	next->protocol = ip->nexthdr;
	return true;
}

static __always_inline void decode_transport(const struct transport *t, const struct layer *layer, struct packet *p)
{
	__u64 payload = (__u64)t->payload[1] << 32 | t->payload[0];
	__be32 ports = 0;

	p->words_and_id = (__u8)t->payload[1] >> 4 | layer->id << 8;
	if (layer->fragment) {
		p->fingerprint = layer_fingerprint(layer);
	} else if (layer->protocol == IPPROTO_TCP) {
		ports = t->ports;
		p->id = layer->id;
		p->sequence = t->word;
		p->fingerprint = tcp_fingerprint(layer, t->word);
	} else if (layer->protocol == IPPROTO_UDP) {
		ports = t->ports;
		p->fingerprint = udp_fingerprint(layer, payload);
	} else if (layer->protocol == IPPROTO_ICMP || layer->protocol == IPPROTO_ICMPV6) {
		p->fingerprint = icmp_fingerprint(layer, t, payload);
	} else {
		/* The second word: ESP's sequence, SCTP's verification tag. */
		p->fingerprint = mix(layer_fingerprint(layer), t->word);
	}
	set_ports(&p->flow, layer->protocol, ports);
}

/*
 * How many segments a large packet makes that comes without the number, as those of virtio, tun and packet sockets: counted
 * as in qdisc_pkt_len_init(), as if IP and UDP had no options. Seldom called, so a function that the verifier looks at once.
 */
__noinline int divide_into_segments(__u32 bytes, __u32 ipv4, __u32 protocol, __u32 words, __u32 size)
{
	__u32 headers = ipv4 ? sizeof(struct iphdr) : sizeof(struct ipv6hdr);
	enum { MAX = 0xffff };

	headers += protocol == IPPROTO_TCP ? words * 4 : sizeof(struct udphdr);
	if (!size || bytes <= headers)
		return 1;
	__u32 segments = (bytes - headers + size - 1) / size;
	return segments < MAX ? segments : MAX;
}

/* How many segments a packet makes, by its gso_segs and gso_size. */
static __always_inline __u32 count_segments(const struct packet *p, __u32 segments, __u32 size)
{
	if (segments)
		return segments;
	if (!size)
		return 1;
	return divide_into_segments(p->ip_bytes, is_ipv4_mapped(p->flow.source), p->flow.protocol, p->words_and_id & 15, size);
}

#endif
