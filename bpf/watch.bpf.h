/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * From a packet at a pod's hook to its connection, and which connections are in the sample. Parsed here by itself: the parsers are for
 * the innermost packet, and at an egress an unsampled packet is not parsed at all.
 */
#ifndef TRACER_WATCH_BPF_H
#define TRACER_WATCH_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "address.bpf.h"
#include "config.bpf.h"
#include "fingerprint.bpf.h"
#include "kernel.h"
#include "request.bpf.h"
#include "verifier.bpf.h"
#include "watched.bpf.h"

static __always_inline __u64 rotate(__u64 word, __u32 bits)
{
	return word << (bits & 63) | word >> (-bits & 63);
}

/* The addresses of a packet of IPv4, or of IPv6, for number_of(). Of IPv6 the lower halves: in a cluster they tell pods apart as well. */
static __always_inline __u32 addresses_of(const void *ip, bool ipv6)
{
	const __u32 *at = ip + (ipv6 ? offsetof(struct ipv6hdr, saddr) + 8 : offsetof(struct iphdr, saddr));

	return ipv6 ? at[0] ^ at[1] ^ at[4] ^ at[5] : at[0] ^ at[1];
}

/* By which a connection is in the sample, or not: the same at both its ends. */
static __always_inline __u32 number_of(__u32 addresses, __u32 ports)
{
	return (((__u64)addresses << 16 ^ ports >> 16 ^ (ports & 0xffff)) * GOLDEN_RATIO_64) >> 32;
}

/* A hash of the addresses, from the pod's to the other one. No branch depends on which end sends. */
static __always_inline __u64 hash_of(const void *ip, bool ipv6, __u32 from)
{
	if (ipv6) {
		const __u64 *source = ip + offsetof(struct ipv6hdr, saddr);
		__u64 one = mix(source[0], source[1]), two = mix(source[2], source[3]),
		      swap = (one ^ two) & -(__u64)from;
		return mix(one ^ swap, (two ^ swap) * 0x8ebc6af09c88c6e3ull);
	}
	return mix(rotate(*(const __u64 *)(ip + offsetof(struct iphdr, saddr)), from * 32), 0xa0761d6478bd642full);
}

/* Whether a segment, by its length, brings nothing but an acknowledgement, which changes nothing. */
static __always_inline bool is_bare(const struct tcphdr *tcp, __u32 length)
{
	const __u8 *bytes = (const void *)tcp;

	return (bytes[12] >> 4) * 4 == length && !(bytes[13] & (TCP_SYN | TCP_FIN | TCP_RST));
}

/* Notes the addresses as the pod has them, from the packet at a hook: see watch_requests(). */
__noinline int note_addresses(struct __sk_buff *ctx, __u32 place, __u32 ethernet, __u32 from)
{
	const void *data = (const void *)(long)ctx->data, *end = (const void *)(long)ctx->data_end;
	struct watched *w = watched_at(place);

	ethernet &= 15;
	const void *ip = data + ethernet;
	if (ip + sizeof(struct iphdr) > end)
		return 0;
	__u8 *to = (__u8 *)&w->flow;
	__u32 at = (from & 1) * sizeof(w->flow.source);
	w->ifindex = ctx->ifindex;
	if (*(const __u8 *)ip == 0x45) {
		map_ipv4(to + at, *(const __be32 *)(ip + offsetof(struct iphdr, saddr)));
		map_ipv4(to + (at ^ sizeof(w->flow.source)), *(const __be32 *)(ip + offsetof(struct iphdr, daddr)));
	} else if (ip + sizeof(struct ipv6hdr) <= end) {
		const __u64 *words = ip + offsetof(struct ipv6hdr, saddr);
		__u64 *source = (__u64 *)(to + at), *destination = (__u64 *)(to + (at ^ sizeof(w->flow.source)));
		source[0] = words[0];
		source[1] = words[1];
		destination[0] = words[2];
		destination[1] = words[3];
	}
	return 0;
}

/*
 * Whether what follows is to be called, with all its registers to be saved: not for what is certainly a mere acknowledgement, as half of
 * all packets are, or of a connection that is not in the sample.
 */
static __always_inline bool may_be_watched(const struct __sk_buff *ctx, __u32 ethernet)
{
	const void *data = (const void *)(long)ctx->data, *end = (const void *)(long)ctx->data_end;
	const struct iphdr *ip = data + (ethernet & 15);
	const struct tcphdr *tcp = (const void *)(ip + 1);

	if ((const void *)(tcp + 1) > end || *(const __u8 *)ip != 0x45)
		return true;
	if (ip->protocol == IPPROTO_TCP && is_bare(tcp, bpf_ntohs(ip->tot_len) - sizeof(*ip)))
		return false;
	return number_of(addresses_of(ip, false), bpf_ntohl(*(const __be32 *)tcp)) < settings.look_below;
}

/*
 * A packet at one of a pod's hooks: ethernet is the length of the link-layer header in front of it, from 0 if the pod sends it,
 * 1 if it gets it. Returns the time if that was read, else 0. With IP options, extension headers or VLANs a connection is not
 * watched.
 */
__noinline __u64 watch_requests(struct __sk_buff *ctx, __u32 ethernet, __u32 from)
{
	const void *data = (const void *)(long)ctx->data, *end = (const void *)(long)ctx->data_end;
	__u32 header = sizeof(struct iphdr), bytes, sequence = 0, acknowledged = 0, query = 0;
	__u64 piece = (from & 1) * PIECE_FROM;
	__u32 addresses;
	__u64 hash;
	__u8 protocol;

	ethernet &= 15;
	from &= 1;
	const void *ip = data + ethernet;
	if (ip + sizeof(struct iphdr) + sizeof(struct udphdr) > end)
		return 0;
	__u8 first = *(const __u8 *)ip;
	if (first == 0x45) {
		/* Behind the first of its fragments a datagram has no ports. */
		if (*(const __be16 *)(ip + offsetof(struct iphdr, frag_off)) & bpf_htons(IP_OFFSET))
			return 0;
		protocol = *(const __u8 *)(ip + offsetof(struct iphdr, protocol));
		bytes = bpf_ntohs(*(const __be16 *)(ip + offsetof(struct iphdr, tot_len)));
		/* Here, as older verifiers forget until later how long the packet is for each of the two. */
		addresses = addresses_of(ip, false);
		hash = hash_of(ip, false, from);
	} else if (first >> 4 == 6 && ip + sizeof(struct ipv6hdr) + sizeof(struct udphdr) <= end) {
		header = sizeof(struct ipv6hdr);
		addresses = addresses_of(ip, true);
		hash = hash_of(ip, true, from);
		protocol = *(const __u8 *)(ip + offsetof(struct ipv6hdr, nexthdr));
		bytes = bpf_ntohs(*(const __be16 *)(ip + offsetof(struct ipv6hdr, payload_len)));
		bytes += bytes ? header : 0;
	} else {
		return 0;
	}
	if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP)
		return 0;
	if (!bytes)
		bytes = ctx->len - ethernet; /* of a GSO packet beyond 64 KiB */
	bytes -= header;
	const void *transport = ip + header;
	if (protocol == IPPROTO_TCP) {
		const struct tcphdr *tcp = transport;
		if ((const void *)(tcp + 1) > end)
			return 0;
		piece |= PIECE_TCP | ((const __u8 *)tcp)[13];
		sequence = bpf_ntohl(tcp->seq);
		acknowledged = bpf_ntohl(tcp->ack_seq);
		if (is_bare(tcp, bytes))
			return 0;
		bytes -= (((const __u8 *)tcp)[12] >> 4) * 4;
	} else {
		const struct udphdr *udp = transport;
		const __be16 *id = (const void *)(udp + 1);
		bytes -= sizeof(*udp);
		/* Resolvers ask for an A and an AAAA record at once, from one port: each query is a connection by itself, by its ID. */
		if ((udp->source == bpf_htons(DNS_PORT) || udp->dest == bpf_htons(DNS_PORT)) &&
		    (const void *)(id + 1) <= end)
			query = (__u32)*id << 16;
	}
	__u32 ports = *(const __be32 *)transport;
	/* From here on the verifier need not care how it got here. */
	piece = make_long_unknown_by(piece | (__u64)(bytes & PIECE_BYTES_MASK) << PIECE_BYTES_SHIFT, ports);
	sequence = make_unknown_by(sequence, ports);
	acknowledged = make_unknown_by(acknowledged, ports);
	__u32 rest = make_unknown_by(query ^ (__u32)protocol << 24, ports) ^ ctx->ifindex;
	ports = rotate((__u64)bpf_ntohl(ports) * 0x100000001ull, from * 16);
	__u32 number = number_of(addresses, ports);
	if (number >= settings.look_below)
		return 0;
	/* What tells connections apart, also by the pod's device: both ends of one may be on this node. Never 0. */
	__u64 tag = mix(hash, (__u64)ports << 32 | rest) | 1;
	__u32 index = tag >> 52; /* a product's upper bits depend on all */
	struct watched_bucket *b = watched_bucket_at(index);
	__u32 slot = find_watched(b, tag);
	int place = index * SLOTS_PER_BUCKET + slot;
	__u64 now = 0;
	if (!is_slot(slot)) {
		bool begins = piece >> PIECE_BYTES_SHIFT || (piece & (PIECE_TCP | TCP_SYN)) == (PIECE_TCP | TCP_SYN);
		if (!begins || (piece & PIECE_TCP && piece & TCP_RST) || number >= settings.watch_below)
			return 0;
		now = bpf_ktime_get_ns();
		place = begin_watched(index, ports, piece, now);
		if (place < 0)
			return now;
	}
	struct watched *w = watched_at(place);
	if (now) {
		note_addresses(ctx, place, ethernet, from);
		if (piece & PIECE_TCP) {
			w->next[from] = sequence;
			w->next[!from] = acknowledged;
		}
		barrier();
		b->tag[masked_index(place, SLOTS_PER_BUCKET)] = tag;
	} else if (needs_time(w, piece)) {
		now = bpf_ktime_get_ns();
	}
	__u64 asked_ns = w->asked_ns;
	int what =
		piece & PIECE_TCP ? on_segment(place, sequence, acknowledged, piece, now) : on_datagram(place, piece, now);
	what = make_unknown_by(what, ports); /* as above */
	if (what & ~GONE)
		send_request(place, what & ~GONE, asked_ns, now);
	if (what & GONE)
		b->tag[masked_index(place, SLOTS_PER_BUCKET)] = 0;
	return now;
}

#endif
