/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What is read of a packet's headers. */
#ifndef TRACER_PACKET_BPF_H
#define TRACER_PACKET_BPF_H

#include <linux/bpf.h>

#include "record.h"

enum parsed { PARSED, NOT_IP, MALFORMED, TOO_DEEP };

/* A packet as it was parsed; all but outer is of the innermost IP packet. */
struct packet {
	struct flow flow;
	__u64 fingerprint;
	__u64 outer; /* see outer_word() */
	__u32 ip_bytes;
	/*
	 * Lowest the length of TCP's header in words of four bytes, of no meaning elsewhere; from bit 8 on struct layer.id. In the upper half of
	 * eight bytes, where the verifier does not keep what it knows of a number.
	 */
	__u32 words_and_id;
	__be32 sequence; /* TCP's */
	__u32 id; /* of TCP; see struct layer */
	__u8 flags; /* FLAG_ENCAP, FLAG_FRAGMENT */
};

/* What an IP header says of the layer above it. */
struct layer {
	__u32 offset; /* of the layer's first byte */
	__u32 id; /* IPv4 id; IPv6 flow label, or the fragment's id */
	__u16 fragment; /* fragment offset in eight bytes */
	__u8 protocol;
};

/* The first words of the layer above IP: ports and sequence, or type, checksum and id; then UDP's payload. */
struct transport {
	union {
		__be32 ports;
		struct {
			__be16 source, destination;
		};
	};
	__be32 word;
	__be32 payload[2]; /* TCP's acknowledgement, and what follows it */
};

#endif
