/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * How a journey goes on to its next hop, and how it ends: by its record.
 *
 * Behind an ingress a packet may end in a socket, of which no hook tells: in the node's own, or in a pod's that a BPF program
 * handed it to past the pod's device (bpf_redirect_peer()). The address alone does not say so beforehand: a reply that conntrack is
 * still to translate back has the node's own, and goes on. So such a journey ends when its packet is gone: received by
 * TCP, consumed, or when its sk_buff has become another packet.
 */
#ifndef TRACER_END_BPF_H
#define TRACER_END_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "config.bpf.h"
#include "counter.bpf.h"
#include "coverage.bpf.h"
#include "record.h"
#include "send.bpf.h"
#include "slot.bpf.h"

/* Set for good by the first packet that has reached a pod's socket past the pod's device: from then on, each is looked for. */
__u32 past_devices;

/* Adds a hop to a journey, and to its slot's state with the flags that it now has. */
static __always_inline void append_hop(struct bucket *b, __u32 slot, enum hook hook, __u32 ifindex, __u64 now,
				       __u32 flags)
{
	struct journey *j = &b->journey[slot];
	struct slot_state state = {
		.ifindex = ifindex, .hook = hook, .flags = flags, .fingerprint = b->state[slot].fingerprint
	};

	/* The hop before their number, the state last: a scan that comes between sees the journey as it was. */
	__u8 hops = j->hops < 255 ? j->hops + 1 : j->hops;
	__u32 i = last_hop(hops);
	j->time_ns[i] = now;
	j->ifindex[i] = ifindex;
	j->hook[i] = hook;
	barrier();
	j->hops = hops;
	j->flags = flags;
	b->state[slot] = state;
}

/* Sends a journey that has come to its end, in a softirq. Callers count it. */
static __always_inline void finish_journey(struct bucket *b, __u32 slot)
{
	struct journey *j = &b->journey[slot];

	send_record(j, RECORD_JOURNEY, 0, 0, j->time_ns[last_hop(j->hops)]);
}

/*
 * The packet of a journey behind an ingress is gone, and was not dropped: so to a socket, or merged into another (GRO). Sends the journey
 * if that was the node's own, out of a tunnel, or a pod's past its device. What came in for the node itself at its only hook
 * is no journey. Empties the slot.
 */
__noinline int end_behind_ingress(__u64 key)
{
	struct bucket b;

	if (!bucket_of(key, &b))
		return 0;
	__u32 slot = find_slot(&b, key);
	if (!is_slot(slot))
		return 0;
	struct journey *j = &b.journey[slot];
	/* What a pod's own queue held is at its only hook of the node's all the same. */
	__u32 first = j->hook[0] == HOOK_POD_QUEUE;
	bool ended = j->hops > first + 1 && bpf_map_lookup_elem(&tracer_node_ips, j->last.destination);
	/* Without evidence few are looked up, since most are for the node. */
	if (!ended && (past_devices || !(j->fingerprint & 15)) &&
	    bpf_map_lookup_elem(&tracer_pod_ips, j->last.destination)) {
		past_devices = 1;
		ended = true;
	}
	if (ended) {
		count_end(j, true);
		finish_journey(&b, slot);
	}
	count_atomic(ended ? COUNT_FINISHED : COUNT_UNFINISHED_INGRESS);
	b.tag[slot] = 0;
	return 0;
}

#endif
