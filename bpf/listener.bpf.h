/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * How full the queue of a listening socket in a pod's namespace is: connections that are made and that its application
 * has not accepted. Beyond its limit the kernel drops SYNs without a reason (tcp_conn_request()).
 */
#ifndef TRACER_LISTENER_BPF_H
#define TRACER_LISTENER_BPF_H

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "address.bpf.h"
#include "kernel.h"
#include "record.h"

#define BACKLOG_MAX 0x7fff

/*
 * The answer, which is what the program returns: bit 31 that somebody listens there, bit 30 that its queue is full as
 * sk_acceptq_is_full() says, then 15 bits of how many wait and 15 of how many may, or as many as fit.
 */
static __always_inline __u32 encode_backlog(struct bpf_sock *listener)
{
	const struct sock *sk = (const struct sock *)bpf_skc_to_tcp_sock(listener);

	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0;
	__u32 backlog = BPF_CORE_READ(sk, sk_ack_backlog), max = BPF_CORE_READ(sk, sk_max_ack_backlog);
	__u32 full = backlog > max;
	if (backlog > BACKLOG_MAX)
		backlog = BACKLOG_MAX;
	if (max > BACKLOG_MAX)
		max = BACKLOG_MAX;
	return 1u << 31 | full << 30 | backlog << 15 | max;
}

static __always_inline __u32 listen_backlog(struct __sk_buff *ctx)
{
	struct bpf_sock_tuple tuple = {}; /* from nobody: so only who listens is found */
	struct listener_query q;
	__u32 size = sizeof(tuple.ipv6);

	if (bpf_skb_load_bytes(ctx, ETH_HLEN, &q, sizeof(q)))
		return 0;
	if (is_ipv4_mapped(q.address)) {
		tuple.ipv4.daddr = ((const __u32 *)q.address)[3];
		tuple.ipv4.dport = q.port;
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.daddr, q.address, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.dport = q.port;
	}
	struct bpf_sock *listener = bpf_skc_lookup_tcp(ctx, &tuple, size, q.netns, 0);
	if (!listener)
		return 0;
	__u32 answer = encode_backlog(listener);
	bpf_sk_release(listener);
	return answer;
}

#endif
