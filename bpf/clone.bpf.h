/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The kernel may go on with a clone: skb_expand_head() does where a forwarded IPv6 packet lacks room for another
 * header, and frees the original by consume_skb(). Then the very next packet on this CPU is the clone. So a journey
 * whose packet is consumed between two devices stays for that long, and the clone's first hook takes it over.
 */
#ifndef TRACER_CLONE_BPF_H
#define TRACER_CLONE_BPF_H

struct handover {
	__u64 key; /* 0: none */
	__u64 fingerprint;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct handover);
} handovers SEC(".maps");

/* The journey in a way lost its packet. The one left before that is nobody's. */
static __always_inline void hand_over(struct bucket *b, __u32 way, __u64 key)
{
	__u32 zero = 0;
	struct handover *o = bpf_map_lookup_elem(&handovers, &zero);

	if (!o)
		return;
	if (o->key) {
		struct bucket before;
		__u32 old = bucket_of(o->key, &before) ? find(&before, o->key) : WAYS;
		/* Unless its address was used again since. */
		if (old < WAYS && before.journey[old].fingerprint == o->fingerprint)
			vanish(&before, old);
	}
	o->fingerprint = b->journey[way].fingerprint;
	o->key = key;
}

/* Moves a journey that lost its packet to the clone that the packet goes on as; its way, WAYS if there is none. */
static __always_inline __u32 take_over(struct bucket *b, __u64 key, const struct packet *p)
{
	__u32 zero = 0;
	struct handover *o = bpf_map_lookup_elem(&handovers, &zero);

	if (!o || !o->key || o->fingerprint != p->fingerprint)
		return WAYS;
	__u64 from = o->key;
	o->key = 0;
	return move(from, b, key, p->fingerprint);
}

#endif
