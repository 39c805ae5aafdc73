/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The quick parser: what nearly all packets look like, with or without one tunnel around, by direct access at
 * offsets that the verifier can follow, eight bytes at a time.
 */
#ifndef TRACER_PARSE_QUICK_BPF_H
#define TRACER_PARSE_QUICK_BPF_H

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

#include "address.bpf.h"
#include "fingerprint.bpf.h"
#include "header.bpf.h"
#include "kernel.h"
#include "packet.bpf.h"
#include "tunnel.bpf.h"

#define QUICK_LAYERS 2 /* the packet by itself, and in one tunnel */

/* An IPv4 header without options; head are its first eight bytes. Returns the packet's length; 0: the thorough parser's. */
static __always_inline __u32 read_plain_ipv4(const void *ip, __u64 head, struct packet *p, struct layer *layer)
{
	__u32 bytes = bpf_ntohs((__u16)(head >> 16));

	if (head & bpf_cpu_to_be64(IP_OFFSET | IP_MF) || bytes < sizeof(struct iphdr))
		return 0;
	map_ipv4(p->flow.source, *(const __be32 *)(ip + offsetof(struct iphdr, saddr)));
	map_ipv4(p->flow.destination, *(const __be32 *)(ip + offsetof(struct iphdr, daddr)));
	layer->id = (__u16)(head >> 32);
	layer->protocol = *(const __u8 *)(ip + offsetof(struct iphdr, protocol));
	return bytes;
}

/* False if the packet is of another kind, or malformed: the thorough parser decides. */
static __always_inline bool parse_quickly(struct __sk_buff *ctx, bool ethernet, struct packet *p)
{
	const void *data = (const void *)(long)ctx->data, *end = (const void *)(long)ctx->data_end;
	__u32 offset = ethernet ? sizeof(struct ethhdr) : 0, length = ctx->len;
	struct layer layer = {};
	__u8 flags = 0;

#pragma clang loop unroll(full)
	for (int depth = 0; depth < QUICK_LAYERS; depth++) {
		const void *ip = data + offset;
		const struct transport *t = ip + sizeof(struct iphdr);
		if ((const void *)(t + 1) > end)
			return false;
		__u64 head = *(const __u64 *)ip; /* as in outer_word() */
		__u32 header = sizeof(struct iphdr), bytes;
		switch ((__u8)head) {
		case 0x45:
			bytes = read_plain_ipv4(ip, head, p, &layer);
			if (!bytes)
				return false;
			break;
		case 0x60:
			/* 0x60 could be the first byte of an Ethernet address (l3_ip_offset()); 0x45 cannot: no device has a group's. */
			if (!ethernet && !depth && ctx->protocol != bpf_htons(ETH_P_IPV6))
				return false;
			header = sizeof(struct ipv6hdr);
			t = ip + sizeof(struct ipv6hdr);
			bytes = sizeof(struct ipv6hdr) + bpf_ntohs((__u16)(head >> 32));
			if ((const void *)(t + 1) > end || bytes == sizeof(struct ipv6hdr))
				return false;
			copy_ipv6(&p->flow, ip + offsetof(struct ipv6hdr, saddr));
			layer.id = bpf_ntohl((__u32)head) & IPV6_FLOWLABEL_MASK;
			layer.protocol = *(const __u8 *)(ip + offsetof(struct ipv6hdr, nexthdr));
			break;
		default:
			return false;
		}
		if (offset + bytes > length)
			return false;
		if (!depth)
			p->outer = outer_word(head);
		p->ip_bytes = bytes;
		offset += header; /* a constant to the verifier, other than the distance from data to t */
		__u32 tunnel = udp_tunnel_header(t, &layer);
		if (tunnel) {
			const struct ethhdr *inner = (const void *)(t + 1) - sizeof(t->payload) + TUNNEL_HEADER;
			if (tunnel != TUNNEL_HEADER || (const void *)(inner + 1) > end)
				return false;
			if (inner->h_proto != bpf_htons(ETH_P_IP) && inner->h_proto != bpf_htons(ETH_P_IPV6))
				return false;
			offset += sizeof(struct udphdr) + TUNNEL_HEADER + sizeof(*inner);
		} else if (layer.protocol != IPPROTO_IPIP && layer.protocol != IPPROTO_IPV6) {
			p->flags = flags;
			decode_transport(t, &layer, p);
			return has_transport(layer.protocol);
		}
		flags = FLAG_ENCAP;
	}
	return false;
}

/*
 * The same of an IP packet in kernel memory: IPv4 without options and tunnels, by a single read. start is the address of its
 * header, end that behind its linear data, length how long it is wherever its data are.
 */
static __always_inline bool parse_plain_at(__u64 start, __u64 end, __u32 length, struct packet *p)
{
	struct {
		struct iphdr ip;
		struct transport transport;
	} __attribute__((packed, aligned(8))) headers;
	__u64 head;

	if (start + sizeof(headers) > end || bpf_probe_read_kernel(&headers, sizeof(headers), (const void *)start))
		return false;
	head = *(const __u64 *)&headers;
	struct layer layer = { .id = headers.ip.id, .protocol = headers.ip.protocol };
	__u32 bytes = bpf_ntohs(headers.ip.tot_len);
	if ((__u8)head != 0x45 || head & bpf_cpu_to_be64(IP_OFFSET | IP_MF) || bytes < sizeof(headers.ip) ||
	    bytes > length)
		return false;
	if (!has_transport(layer.protocol) || udp_tunnel_header(&headers.transport, &layer))
		return false;
	map_ipv4(p->flow.source, headers.ip.saddr);
	map_ipv4(p->flow.destination, headers.ip.daddr);
	p->outer = outer_word(head);
	p->ip_bytes = bytes;
	p->flags = 0;
	decode_transport(&headers.transport, &layer, p);
	return true;
}

#endif
