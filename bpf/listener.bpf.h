/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * How full the queue of a listening socket in a pod's namespace is: connections that are made and that its application
 * has not accepted. Beyond its limit the kernel throws SYNs away without a word (tcp_conn_request()).
 */
#ifndef TRACER_LISTENER_BPF_H
#define TRACER_LISTENER_BPF_H

enum { SOCKET_LISTENS = 10 /* TCP_LISTEN */, BACKLOG_MOST = 0x7fff, ETHERNET_BYTES = 14 };

/*
 * The answer, which is what the program returns: bit 31 that somebody listens there, bit 30 that its queue is full as
 * sk_acceptq_is_full() says, then 15 bits of what waits and 15 of how much may, or as much as fits.
 */
static __always_inline __u32 backlog_answer(struct bpf_sock *found)
{
	const struct sock *sk = (const struct sock *)bpf_skc_to_tcp_sock(found);

	if (!sk || BPF_CORE_READ(sk, __sk_common.skc_state) != SOCKET_LISTENS)
		return 0;
	__u32 waiting = BPF_CORE_READ(sk, sk_ack_backlog), most = BPF_CORE_READ(sk, sk_max_ack_backlog);
	__u32 full = waiting > most;
	if (waiting > BACKLOG_MOST)
		waiting = BACKLOG_MOST;
	if (most > BACKLOG_MOST)
		most = BACKLOG_MOST;
	return 1u << 31 | full << 30 | waiting << 15 | most;
}

static __always_inline __u32 backlog(struct __sk_buff *ctx)
{
	struct bpf_sock_tuple tuple = {}; /* from nobody: so only who listens is found */
	struct listener_question q;
	__u32 size = sizeof(tuple.ipv6);

	if (bpf_skb_load_bytes(ctx, ETHERNET_BYTES, &q, sizeof(q)))
		return 0;
	const __u32 *words = (const __u32 *)q.address;
	if (!words[0] && !words[1] && words[2] == bpf_htonl(0xffff)) {
		tuple.ipv4.daddr = words[3];
		tuple.ipv4.dport = q.port;
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.daddr, q.address, sizeof(tuple.ipv6.daddr));
		tuple.ipv6.dport = q.port;
	}
	struct bpf_sock *found = bpf_skc_lookup_tcp(ctx, &tuple, size, q.netns, 0);
	if (!found)
		return 0;
	__u32 answer = backlog_answer(found);
	bpf_sk_release(found);
	return answer;
}

#endif
