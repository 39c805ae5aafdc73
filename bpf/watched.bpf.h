/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The table of connections whose requests are timed at pods' devices: what is kept of each, and which of them gives up its slot where a
 * new one needs it.
 */
#ifndef TRACER_WATCHED_BPF_H
#define TRACER_WATCHED_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#include "config.bpf.h"
#include "counter.bpf.h"
#include "header.bpf.h"
#include "record.h"
#include "slot.bpf.h"
#include "verifier.bpf.h"

/* A variable for the same reasons as the in-flight table's, of which user space maps it in the same way. */
struct watched_bucket watched_table[WATCHED_BUCKETS] __attribute__((aligned(4096)));

enum request_limit {
	/* A datagram so long after the last one, which is not answered, asks again: the request began with that. */
	ASK_AGAIN_NS = 200000000,
	/* ... unless nobody can still wait for an answer to that. */
	DATAGRAM_WAIT_SECONDS = 30,
	/* So many datagrams more than were asked for are no answers but a stream. */
	STREAM_DATAGRAMS = 16,
	/* What does not alternate twice within so many requests is left out. */
	OVERLAPS_FORGOTTEN_AFTER = 64,
	/* A connection without a request for so long may lose its slot to a new one. */
	IDLE_SECONDS = 10,
	/* ... and one of TCP that waits for its answer, after so long. */
	WAIT_SECONDS = 300,
	/* Payload so long after the last one's that it may be another request. */
	PAUSE_NS = 250000,
	/* A FIN, or a RST, of who asks so soon after its payload says that this was not a request but a farewell. */
	FAREWELL_NS = 10000000,
	EPHEMERAL_PORTS = 32768, /* net.ipv4.ip_local_port_range begins there */
	RESERVED_PORTS = 1024,
	/* A SYN that looks older than its connection is the first one of a new connection, if that was silent for so long. */
	SYN_SECONDS = 60,
	DNS_PORT = 53,
};

/* TCP's flags as the byte behind its data offset has them. */
enum tcp_flag { TCP_FIN = 1, TCP_SYN = 2, TCP_RST = 4, TCP_ACK = 16 };

/* What is read of a packet that is watched, as numbers: the functions below are global ones. Side 0 is the pod's, 1 the other end's. */
enum piece_bit {
	PIECE_FROM = 1 << 8, /* the other end sends it; below are TCP's flags */
	PIECE_TCP = 1 << 9,
	PIECE_BYTES_SHIFT = 16, /* above: how long its payload is */
	PIECE_BYTES_MASK = (1 << 20) - 1, /* GSO makes 512 KiB of it at most; a header that lies is to make no more */
};

/* Bits beside a time, which has no such: see use_of(). */
#define HELD (1ull << 62)
#define KEPT (1ull << 63)

/* What a packet brings to its end, beside an enum request_kind: its connection, which is over with it. */
enum { GONE = 1 << 8 };

static __always_inline struct watched_bucket *watched_bucket_at(__u32 index)
{
	struct watched_bucket *b = &watched_table[masked_index(index, WATCHED_BUCKETS)];

	barrier_var(b); /* or clang works out the address each time that it is used */
	return b;
}

/* One by the place that it has: its bucket's index, times SLOTS_PER_BUCKET, and its slot there. */
static __always_inline struct watched *watched_at(__u32 place)
{
	return &watched_bucket_at(place / SLOTS_PER_BUCKET)->slot[masked_index(place, SLOTS_PER_BUCKET)];
}

/*
 * The side that asks where nobody has seen who began: the server is at the reserved port, or at that which is none that the kernel
 * gives to clients; ~0 if nothing tells.
 */
static __always_inline __u32 client_by_ports(__u32 pod, __u32 other)
{
	if ((pod < RESERVED_PORTS) != (other < RESERVED_PORTS))
		return pod < RESERVED_PORTS;
	if ((pod < EPHEMERAL_PORTS) != (other < EPHEMERAL_PORTS))
		return pod < EPHEMERAL_PORTS;
	return ~0u;
}

static __always_inline void leave_out(struct watched *w, enum counter why)
{
	w->state = WATCHED_LEFT_OUT;
	count_softirq(why);
}

/*
 * When a slot was last of use, as a number by which the least is given up first: what the pod is asked out of the blue, as in a flood,
 * and what has been answered by a datagram before any other; none if the slot is to be kept. What the pod asks itself is no flood.
 */
__noinline __u64 use_of(__u32 place, __u64 now)
{
	const struct watched *w = watched_at(place);
	__u32 is_udp = w->flow.protocol == IPPROTO_UDP, answered = w->answers != 0;
	__u32 waits = (w->state == WATCHED_ASKED) | (w->state == WATCHED_OPENING);
	__u32 real = !w->client | answered | !!(w->flags & WATCHED_ACCEPTED);
	__u32 held = ((waits | (w->state == WATCHED_LEFT_OUT)) & real) | (answered & !is_udp);
	__s64 age = now - w->asked_ns; /* below 0 if another CPU is writing */

	if (!held)
		return w->asked_ns;
	if (age < (__s64)(((waits & !is_udp) ? WAIT_SECONDS : IDLE_SECONDS) * SECOND))
		return KEPT;
	return w->asked_ns | HELD;
}

/* The slot for a connection that begins to be watched, or NO_SLOT. Each CPU begins at another: two should not take the same. */
__noinline int find_room(__u32 index, __u64 now)
{
	struct watched_bucket *b = watched_bucket_at(index);
	__u32 slot = NO_SLOT, at = bpf_get_smp_processor_id();
	__u64 least = KEPT;

	for (__u32 i = 0; i < SLOTS_PER_BUCKET; i++, at++) {
		at = make_unknown_by(masked_index(at, SLOTS_PER_BUCKET), now);
		__u64 use = 0;
		if (b->tag[masked_index(at, SLOTS_PER_BUCKET)])
			use = use_of(index * SLOTS_PER_BUCKET + at, now);
		if (use < least) {
			slot = at;
			least = use;
		}
		slot = make_unknown_by(slot, now);
		least = make_long_unknown_by(least, now);
	}
	return slot;
}

/*
 * The place of a connection, of which this is the first packet that is watched, or -1 if there is no room. Its tag is to be set when
 * all is written.
 */
__noinline int begin_watched(__u32 index, __u32 ports, __u32 piece, __u64 now)
{
	struct watched_bucket *b = watched_bucket_at(index);
	__u32 slot = find_room(index, now), from = !!(piece & PIECE_FROM);
	__u32 client = client_by_ports(ports >> 16, ports & 0xffff);

	if (!is_slot(slot)) {
		count_softirq(COUNT_LEFT_OUT_NO_ROOM);
		return -1;
	}
	slot = masked_index(slot, SLOTS_PER_BUCKET);
	struct watched *w = &b->slot[slot];
	b->tag[slot] = 0;
	barrier();
	__builtin_memset(w, 0, sizeof(*w));
	w->asked_ns = now;
	w->weight = settings.watch_weight;
	if (piece & PIECE_TCP && piece & TCP_SYN)
		client = piece & TCP_ACK ? !from : from;
	else if (client > 1 && !(piece & PIECE_TCP))
		client = from;
	w->client = client & 1;
	if (client > 1)
		leave_out(w, COUNT_LEFT_OUT_UNKNOWN);
	set_ports(&w->flow, piece & PIECE_TCP ? IPPROTO_TCP : IPPROTO_UDP, bpf_htonl(ports));
	return index * SLOTS_PER_BUCKET + slot;
}

static __always_inline __u32 find_watched(const struct watched_bucket *b, __u64 tag)
{
	__u32 slot = NO_SLOT;

	if (b->tag[0] == tag)
		slot = 0;
	else if (b->tag[1] == tag)
		slot = 1;
	else if (b->tag[2] == tag)
		slot = 2;
	else if (b->tag[3] == tag)
		slot = 3;
	return make_unknown_by(slot, tag);
}

#endif
