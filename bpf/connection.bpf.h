/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What is kept of each TCP connection between two looks at it, and how many records all of them may send. */
#ifndef TRACER_CONNECTION_BPF_H
#define TRACER_CONNECTION_BPF_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "fingerprint.bpf.h"
#include "kernel.h"
#include "slot.bpf.h"
#include "verifier.bpf.h"

enum tcp_limit {
	TCP_BUCKETS = 4096, /* of SLOTS_PER_BUCKET connections each */
	RATE_PERIOD_SHIFT = 27, /* rate limit: a period is 2^27 ns (134 ms) */
	RATE_RECORDS_MAX = 256, /* in a period, of all connections together */
};

/* What a connection had when it was last looked at; what is counted wraps around. */
struct connection {
	__u64 tag; /* connection_key(); 0 is an empty slot */
	__u64 time_ns; /* of the record before */
	__u32 looked_at; /* in jiffies */
	__u32 segments;
	__u32 retransmits;
	__u32 spurious;
	__u32 delivered;
	__u32 read; /* sequence number */
	__u32 rwnd_limited; /* in jiffies */
	__u32 acked; /* bytes */
	__u32 retransmitted; /* sequence number of the last segment that was, if it is not acknowledged yet; 0: there is none */
	__u32 jiffies; /* of the record before; 0: there was none */
};

struct connection_bucket {
	struct connection slot[SLOTS_PER_BUCKET];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TCP_BUCKETS);
	__type(key, __u32);
	__type(value, struct connection_bucket);
} tracer_conns SEC(".maps");

/* How many records there were in a period. CPUs may miscount by a few. */
struct rate {
	__u64 period;
	__u64 records;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct rate);
} tracer_tcp_rate SEC(".maps");

/* A socket's address, which is soon another connection's, with the ports. */
static __always_inline __u64 connection_key(const struct sock *sk)
{
	__u32 ports = (__u32)sk->__sk_common.skc_num << 16 | sk->__sk_common.skc_dport;

	return key_of(sk) ^ (__u64)ports << 32;
}

/* The connection's slot in its bucket; if it has none yet, the one that was not looked at for longest. */
static __always_inline struct connection *find_connection(__u64 key, __u32 jiffies)
{
	__u32 i = (key >> 6) * GOLDEN_RATIO_64 >> 52;
	struct connection_bucket *b = bpf_map_lookup_elem(&tracer_conns, &i);
	__u32 found = 0, age = 0;

	_Static_assert(TCP_BUCKETS == 1 << 12, "the shift above");
	if (!b)
		return NULL;
#pragma clang loop unroll(full)
	for (__u32 slot = 0; slot < SLOTS_PER_BUCKET; slot++) {
		if (b->slot[slot].tag == key) {
			found = slot;
			break;
		}
		__u32 since = b->slot[slot].tag ? jiffies - b->slot[slot].looked_at : ~0u;
		if (since > age) {
			found = slot;
			age = since;
		}
	}
	found = make_unknown_by(found, key);
	return &b->slot[found & (SLOTS_PER_BUCKET - 1)];
}

/* Counts a record in this period; false if it is one too many. */
static __always_inline bool take_rate(__u64 now)
{
	__u32 zero = 0;
	struct rate *r = bpf_map_lookup_elem(&tracer_tcp_rate, &zero);

	if (!r)
		return false;
	if (r->period != now >> RATE_PERIOD_SHIFT) {
		r->period = now >> RATE_PERIOD_SHIFT;
		r->records = 0;
	}
	/* Once it is used up nobody writes here: of many CPUs, each would take the cache line away from the others. */
	if (r->records >= RATE_RECORDS_MAX)
		return false;
	r->records++;
	return true;
}

#endif
