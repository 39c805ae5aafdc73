/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* IP addresses as a flow has them: IPv4 in its IPv4-mapped form, ::ffff:a.b.c.d. */
#ifndef TRACER_ADDRESS_BPF_H
#define TRACER_ADDRESS_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "record.h"

static __always_inline void map_ipv4(__u8 *to, __be32 address)
{
	__u64 *words = (__u64 *)to;

	words[0] = 0;
	words[1] = bpf_cpu_to_be64(0xffff00000000) | (__u64)address << 32;
}

static __always_inline bool is_ipv4_mapped(const __u8 *address)
{
	const __u32 *words = (const __u32 *)address;

	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

/* Both addresses, which follow each other in the header as in the flow. */
static __always_inline void copy_ipv6(struct flow *flow, const void *addresses)
{
	__u64 *to = (__u64 *)flow;
	const __u64 *from = addresses;

	to[0] = from[0];
	to[1] = from[1];
	to[2] = from[2];
	to[3] = from[3];
}

#endif
