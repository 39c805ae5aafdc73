/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Records to user space. */
#ifndef TRACER_SEND_BPF_H
#define TRACER_SEND_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "config.bpf.h"
#include "counter.bpf.h"
#include "coverage.bpf.h"
#include "record.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
} tracer_records SEC(".maps");

/* The reader also looks by a timer; a wake-up for each record would cost four times the record. */
static __always_inline void submit_record(void *record)
{
	bool full = bpf_ringbuf_query(&tracer_records, BPF_RB_AVAIL_DATA) >= settings.wakeup_bytes;

	bpf_ringbuf_submit(record, full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

/* Sends a record, or counts that there was no room for it. With it the journey has come to an end. */
static __always_inline void send_record(struct journey *j, enum record_kind kind, __u32 reason, __u64 location,
					__u64 now)
{
	count_end(j, kind != RECORD_JOURNEY);
	struct record *r = bpf_ringbuf_reserve(&tracer_records, sizeof(*r), 0);
	if (!r) {
		count_atomic(COUNT_MISSED_JOURNEY + kind - RECORD_JOURNEY);
		return;
	}
	r->kind = kind;
	r->reason = reason;
	r->location = location;
	r->time_ns = now;
	__builtin_memcpy(&r->journey, j, sizeof(*j));
	submit_record(r);
}

#endif
