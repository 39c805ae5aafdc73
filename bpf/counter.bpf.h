/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Per-CPU counters, and the weight of packets for which there was no slot. */
#ifndef TRACER_COUNTER_BPF_H
#define TRACER_COUNTER_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "record.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} tracer_counters SEC(".maps");

/* Counts in any context: programs on one CPU may interrupt each other between load and store. */
static __always_inline void count_atomic(enum counter what)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&tracer_counters, &zero);

	if (c)
		__sync_fetch_and_add(&c->count[what], 1);
}

/*
 * The same for what is counted in softirqs, or with them disabled, and nowhere else: nothing that counts it too comes
 * between. An atomic addition takes as long as all else that an unsampled packet costs.
 */
static __always_inline void count_softirq(enum counter what)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&tracer_counters, &zero);

	if (c)
		c->count[what]++;
}

/*
 * A packet that finds no slot leaves its weight to the next one on its CPU that does: that one came at nearly the same
 * time, and will meet the same. User space could weight the journeys that end now, but those began earlier, under other
 * load. Journeys begin and move with softirqs disabled, so nothing comes between load and store.
 */
static __always_inline void leave_weight(__u32 weight)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&tracer_counters, &zero);

	if (!c)
		return;
	__sync_fetch_and_add(&c->count[COUNT_TABLE_FULL], 1);
	c->pending_weight += weight;
}

/* Counts a journey that begins, and returns the weight that it takes from others, beside its own. */
static __always_inline __u32 take_weight(struct counters *c)
{
	__u64 carried = c->pending_weight < CARRIED_WEIGHT_MAX ? c->pending_weight : CARRIED_WEIGHT_MAX;
	c->count[COUNT_STARTED]++;
	c->pending_weight -= carried;
	return carried;
}

#endif
