/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * How full the queues of a listening socket in a pod's namespace are: connections that are made and that its application
 * has not accepted, and those that are half open. Beyond the limits the kernel drops SYNs without a reason
 * (tcp_conn_request()).
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

/* What is known of a listening socket's queues; 0 if it does not listen. */
static __always_inline __u32 describe_listener(struct bpf_sock *listener, struct listener_answer *answer)
{
	const struct sock *sk = (const struct sock *)bpf_skc_to_tcp_sock(listener);

	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_state) != TCP_LISTEN)
		return 0;
	const struct inet_connection_sock *icsk = (const struct inet_connection_sock *)sk;
	const struct net *net = BPF_CORE_READ(sk, __sk_common.skc_net.net);
	answer->accept_length = BPF_CORE_READ(sk, sk_ack_backlog);
	answer->accept_limit = BPF_CORE_READ(sk, sk_max_ack_backlog);
	answer->syn_length = BPF_CORE_READ(icsk, icsk_accept_queue.qlen.counter);
	answer->max_syn_backlog = BPF_CORE_READ(net, ipv4.sysctl_max_syn_backlog);
	answer->syncookies = BPF_CORE_READ(net, ipv4.sysctl_tcp_syncookies);
	return 1;
}

/* Writes the answer in the place of the query; 1 if somebody listens there, else 0. */
static __always_inline __u32 ask_listener(struct __sk_buff *ctx)
{
	struct bpf_sock_tuple tuple = {}; /* from nobody: so only who listens is found */
	struct listener_answer answer = {};
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
	__u32 listens = describe_listener(listener, &answer);
	bpf_sk_release(listener);
	if (!listens || bpf_skb_store_bytes(ctx, ETH_HLEN, &answer, sizeof(answer), 0))
		return 0;
	return 1;
}

#endif
