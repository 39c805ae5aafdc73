/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* All differences between kernels; no other file has any. */
#ifndef TRACER_COMPAT_BPF_H
#define TRACER_COMPAT_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/ipv6_route.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>

#include "kernel.h"

/*
 * The reason of a kfree_skb: third argument of the tracepoint since c504e5c2f964 ("net: skb: introduce
 * kfree_skb_reason()", 5.17). Before, reading it is refused by the verifier, so the branch has to be dead there.
 */
static __always_inline __u32 drop_reason(const unsigned long long *args)
{
	if (bpf_core_type_exists(enum skb_drop_reason))
		return args[2];
	return 0;
}

/* Whether a drop has no reason, as each one before 5.17. */
static __always_inline bool is_without_reason(__u32 reason)
{
	if (!bpf_core_type_exists(enum skb_drop_reason))
		return true;
	return reason == bpf_core_enum_value(enum skb_drop_reason, SKB_DROP_REASON_NOT_SPECIFIED);
}

/*
 * Whether a route (skb->_skb_refdst) is to a socket of the namespace that the packet is in, and not through it. A route begins
 * with its dst_entry, in all kernels; where IPv6 is a module its type may be unknown.
 */
static __always_inline bool is_local_route(unsigned long refdst, __be16 protocol)
{
	const void *route = (const void *)(refdst & ~(unsigned long)SKB_DST_NOREF);
	__u16 type = 0;
	__u32 flags = 0;

	if (!route)
		return false;
	if (protocol == bpf_htons(ETH_P_IP)) {
		bpf_core_read(&type, sizeof(type), &((const struct rtable *)route)->rt_type);
		return type == RTN_LOCAL;
	}
	if (!bpf_core_type_exists(struct rt6_info))
		return false;
	bpf_core_read(&flags, sizeof(flags), &((const struct rt6_info *)route)->rt6i_flags);
	return flags & RTF_LOCAL;
}

/* Whether there is a route, and it leads on. */
static __always_inline bool is_onward_route(unsigned long refdst, __be16 protocol)
{
	return refdst & ~(unsigned long)SKB_DST_NOREF && !is_local_route(refdst, protocol);
}

/*
 * The other end of a pair of devices; NULL for a device without one. veth and netkit have it first in their own data,
 * which follow the net_device (netdev_priv()). Newer kernels align these to a cache line, of which the size then is a
 * multiple.
 */
static __always_inline struct net_device *peer_of(struct net_device *dev)
{
	static const char veth[8] = "veth", netkit[8] = "netkit";
	struct net_device *peer = NULL;
	char kind[8] = {};

	bpf_probe_read_kernel_str(kind, sizeof(kind), BPF_CORE_READ(dev, rtnl_link_ops, kind));
	if (__builtin_memcmp(kind, veth, sizeof(kind)) && __builtin_memcmp(kind, netkit, sizeof(kind)))
		return NULL;
	__u64 priv = (bpf_core_type_size(struct net_device) + NETDEV_ALIGN - 1) & ~(__u64)(NETDEV_ALIGN - 1);
	bpf_probe_read_kernel(&peer, sizeof(peer), (const char *)dev + priv);
	return peer;
}

void *bpf_rdonly_cast(const void *object, __u32 type) __ksym __weak;

/*
 * The first eight bytes at an address in the kernel. The helper's call takes as long as reading the clock. Since
 * a35b9af4ec2c ("bpf: Add a kfunc for generic type cast", 6.2) a plain load is allowed, through any type of at least
 * eight bytes that every kernel has.
 */
static __always_inline bool read_word(const void *address, __u64 *word)
{
	if (bpf_rdonly_cast) {
		const struct in6_addr *words = bpf_rdonly_cast(address, bpf_core_type_id_kernel(struct in6_addr));
		*word = (__u64)words->s6_addr32[1] << 32 | words->s6_addr32[0];
		return true;
	}
	return !bpf_probe_read_kernel(word, sizeof(*word), address);
}

/*
 * Where the IP header begins in what a tc program of a device without Ethernet header sees. Before 5.14 ("ipip: allow
 * redirecting ipip and mplsip packets to eth devices", and the same for other tunnels) the headers that a tunnel has
 * taken off at ingress are back in front of it, from the uplink's Ethernet header on.
 */
static __always_inline __u32 l3_ip_offset(struct __sk_buff *ctx)
{
	struct sk_buff *skb = (struct sk_buff *)ctx;
	const unsigned char *network = BPF_CORE_READ(skb, head) + BPF_CORE_READ(skb, network_header);
	__u64 taken_off = network - BPF_CORE_READ(skb, data);

	return taken_off < ctx->len ? taken_off : 0;
}

#endif
