/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The state of the TCP connections of this node's pods, and of the traced namespace itself: round trips, retransmissions,
 * windows, what the application has not read. The kernel keeps all that; here it is read some times a second for each
 * connection, and sent as it has changed.
 */
#ifndef TRACER_TCP_BPF_H
#define TRACER_TCP_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "connection.bpf.h"
#include "counter.bpf.h"
#include "kernel.h"
#include "record.h"
#include "send.bpf.h"
#include "socket.bpf.h"

#define TCP_INTERVAL_NS 100000000ull /* between two records of a connection */
#define TCP_NEW_SEGMENTS 3 /* that a connection has received at most when it is met at its beginning */

/* How long nothing but the other end's window kept the connection from sending, in jiffies. */
static __always_inline __u32 rwnd_limited(const struct tcp_sock *tp, __u32 jiffies)
{
	__u32 sum = BPF_CORE_READ(tp, chrono_stat[TCP_CHRONO_RWND_LIMITED - 1]);

	if (BPF_CORE_READ_BITFIELD_PROBED(tp, chrono_type) == TCP_CHRONO_RWND_LIMITED)
		sum += jiffies - BPF_CORE_READ(tp, chrono_start);
	return sum;
}

/* What the connection has counted up to now. */
static __always_inline void read_counts(const struct tcp_sock *tp, const struct connection *before,
					struct connection *now)
{
	now->jiffies = before->looked_at;
	now->segments = BPF_CORE_READ(tp, data_segs_out);
	now->retransmits = BPF_CORE_READ(tp, total_retrans);
	now->spurious = BPF_CORE_READ(tp, dsack_dups);
	now->delivered = BPF_CORE_READ(tp, delivered);
	now->read = BPF_CORE_READ(tp, copied_seq);
	now->rwnd_limited = rwnd_limited(tp, now->jiffies);
	now->acked = BPF_CORE_READ(tp, bytes_acked);
	now->retransmitted = before->retransmitted;
}

/*
 * What it has counted since the record before, or since it began if it was met then. One that has received nothing since, and
 * sent something again before, is met late all the same. The retransmission by which one is met counts, though newer kernels tell of
 * one that failed too, which total_retrans does not: then that is one too many.
 */
static __always_inline void set_changes(struct tcp_record *r, const struct tcp_sock *tp, struct connection *before,
					const struct connection *now)
{
	if (before->jiffies) {
		__u32 jiffies = now->jiffies - before->jiffies;
		r->span_ns = now->time_ns - before->time_ns;
		if (jiffies)
			r->rwnd_limited_ns = r->span_ns * (now->rwnd_limited - before->rwnd_limited) / jiffies;
		r->read_bytes = now->read - before->read;
	} else if (now->retransmits > 1 || BPF_CORE_READ(tp, segs_in) > TCP_NEW_SEGMENTS) {
		/* What it did before we met it belongs to no record. */
		before->segments = now->segments;
		before->retransmits = now->retransmits - (now->retransmits && r->retransmitted_bytes);
		before->spurious = now->spurious;
		before->delivered = now->delivered;
		before->acked = now->acked;
	}
	r->segments = now->segments - before->segments;
	r->retransmits = now->retransmits - before->retransmits;
	r->spurious = now->spurious - before->spurious;
	r->delivered = now->delivered - before->delivered;
	r->acked_bytes = now->acked - before->acked;
}

/* What it has at this moment. */
static __always_inline void set_state(struct tcp_record *r, const struct tcp_sock *tp, __u32 read)
{
	__u32 received = BPF_CORE_READ(tp, rcv_nxt);

	if (r->delivered)
		r->rtt_us = BPF_CORE_READ(tp, rack.rtt_us);
	r->srtt_us = BPF_CORE_READ(tp, srtt_us) >> 3;
	r->rtt_min_us = BPF_CORE_READ(tp, rtt_min.s[0].v);
	r->unread_bytes = received - read;
	__s32 free = BPF_CORE_READ(tp, rcv_wup) + BPF_CORE_READ(tp, rcv_wnd) - received;
	r->receive_window = free > 0 ? free : 0;
	r->send_window = BPF_CORE_READ(tp, snd_wnd);
	r->unsent_bytes = BPF_CORE_READ(tp, write_seq) - BPF_CORE_READ(tp, snd_nxt);
	r->congestion_window = BPF_CORE_READ(tp, snd_cwnd);
	r->in_flight = BPF_CORE_READ(tp, packets_out);
	r->mss = BPF_CORE_READ(tp, mss_cache);
}

/* Sends the connection's state, and how it has changed since before, which becomes what it is now. */
static __always_inline void send_connection(const struct tcp_sock *tp, struct connection *before,
					    const struct tcp_record *base)
{
	struct tcp_record *r = bpf_ringbuf_reserve(&tracer_records, sizeof(*r), 0);
	struct connection now = { .tag = before->tag, .time_ns = base->time_ns, .looked_at = before->looked_at };

	if (!r) {
		count_atomic(COUNT_MISSED_TCP);
		return;
	}
	__builtin_memcpy(r, base, sizeof(*r));
	read_counts(tp, before, &now);
	set_changes(r, tp, before, &now);
	*before = now;
	set_state(r, tp, now.read);
	submit_record(r);
}

/*
 * Whether the last segment that was retransmitted is acknowledged by now. skb may carry that acknowledgement; TCP processes
 * it only after this hook.
 */
static __always_inline bool is_recovered(const struct connection *c, struct sock *sk, struct sk_buff *skb)
{
	if (!c->retransmitted)
		return false;
	__u32 acked =
		skb ? BPF_CORE_READ(tcp_skb_cb(skb), ack_seq) : BPF_CORE_READ((const struct tcp_sock *)sk, snd_una);
	return (__s32)(acked - c->retransmitted) > 0;
}

/*
 * Makes unknown to the verifier what some paths have set and others not, by a number of which it knows nothing: older ones walk
 * through what comes after once for each combination.
 */
static __always_inline void forget_values(struct tcp_record *r, __u64 unknown)
{
	__u64 *flow = (__u64 *)&r->flow;

	_Static_assert(sizeof(r->flow) == 5 * sizeof(*flow), "the words below");
	r->recovered = make_unknown_by(r->recovered, unknown);
	r->ifindex = make_unknown_by(r->ifindex, unknown);
	r->deliver_ns = make_long_unknown_by(r->deliver_ns, unknown);
	r->retransmitted_bytes = make_unknown_by(r->retransmitted_bytes, unknown);
	r->repeated = make_unknown_by(r->repeated, unknown);
#pragma clang loop unroll(full)
	for (int i = 0; i < 5; i++)
		flow[i] = make_long_unknown_by(flow[i], unknown);
}

/*
 * A connection has received skb, or retransmitted what is in retransmitted. Calls within the same jiffy are skipped (free
 * to check), then those within TCP_INTERVAL_NS (reads the clock). An acknowledgement of a retransmitted segment is never
 * skipped: a short connection may send nothing more.
 */
static __always_inline void on_tcp(struct sock *sk, struct sk_buff *skb, struct sk_buff *retransmitted)
{
	__u64 key = connection_key(sk);
	__u32 jiffies = bpf_jiffies64();
	struct connection *c = find_connection(key, jiffies);
	struct bucket b = {};

	if (skb && past_devices)
		end_at_pod_socket(sk, skb);
	if (!c)
		return;
	bool known = c->tag == key;
	bool recovered = known && is_recovered(c, sk, skb);
	if (known && !recovered && c->looked_at == jiffies)
		return;
	__u64 now = bpf_ktime_get_ns();
	if (known && !recovered && skb && now - c->time_ns < TCP_INTERVAL_NS) {
		c->looked_at = jiffies;
		return;
	}
	if (!take_rate(now))
		return;
	/* Not before: clearing it would be most of what is done for a segment. */
	struct tcp_record r = { .kind = RECORD_TCP, .time_ns = now, .recovered = recovered };
	if (!known)
		*c = (struct connection){ .tag = key };
	c->looked_at = jiffies;
	__u32 slot = skb ? find_received(&b, skb) : NO_SLOT;
	__u64 delivered = delivery_time(&b, slot);
	if (delivered)
		r.ifindex = b.state[masked_index(slot, SLOTS_PER_BUCKET)].ifindex;
	if (!read_remote_flow(sk, &r.flow) || !is_on_node(sk, &r.flow, delivered, &r.ifindex)) {
		c->time_ns = now; /* not this node's: looked at again after the interval */
		return;
	}
	if (delivered)
		r.deliver_ns = now - delivered;
	else if (r.ifindex && has_come_in(&b, slot))
		past_devices = 1; /* for all that come from now on */
	if (recovered)
		c->retransmitted = 0;
	if (retransmitted) {
		__u32 sequence = BPF_CORE_READ(tcp_skb_cb(retransmitted), seq);
		r.retransmitted_bytes = BPF_CORE_READ(retransmitted, len);
		r.repeated = c->retransmitted && c->retransmitted == sequence;
		c->retransmitted = sequence;
	}
	forget_values(&r, now);
	r.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	send_connection((const struct tcp_sock *)sk, c, &r);
}

#endif
