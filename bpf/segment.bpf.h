/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Some qdiscs split a GSO packet when they take it in: tbf_segment(), cake_enqueue(), netem_segment() before it
 * corrupts. They free the packet by consume_skb(), and its segments, new sk_buffs that were at no hook, wait in the
 * queue. So the packet's journey goes on twice, as its first and as its last segment: each waits in the table under
 * the fingerprint that this segment will have, until the segment is dequeued. What lies between the two is not timed.
 */
#ifndef TRACER_SEGMENT_BPF_H
#define TRACER_SEGMENT_BPF_H

#define GSO_TCP_FIXEDID 8 /* SKB_GSO_TCP_FIXEDID: segments keep the IP id */

/* Devices whose qdisc splits, by index. settings.splitting says how many there are. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u8);
} splitting SEC(".maps");

static __always_inline bool splits(__u32 ifindex)
{
	return settings.splitting && bpf_map_lookup_elem(&splitting, &ifindex);
}

struct gso {
	__u16 size, segments;
	__u32 type;
};

static __always_inline void gso_of(struct sk_buff *skb, struct gso *gso)
{
	struct skb_shared_info *info = (void *)(skb->head + skb->end);

	gso->size = BPF_CORE_READ(info, gso_size);
	gso->segments = BPF_CORE_READ(info, gso_segs);
	gso->type = BPF_CORE_READ(info, gso_type);
}

static __always_inline bool is_ipv4(const struct flow *flow)
{
	const __u32 *word = (const __u32 *)flow->source;

	return !word[0] && !word[1] && word[2] == bpf_htonl(0xffff);
}

/* The fingerprint of a packet's last segment; 0 where it cannot be told, or is the first. */
static __always_inline __u64 last_segment(const struct packet *p, const struct gso *gso)
{
	struct layer layer = { .id = p->id, .protocol = IPPROTO_TCP };
	__u32 before = gso->segments - 1;

	/* UDP's segments differ in nothing that is known beforehand; the number of segments may be missing. */
	if (p->flow.protocol != IPPROTO_TCP || p->flags & FLAG_FRAGMENT || gso->segments < 2)
		return 0;
	if (is_ipv4(&p->flow) && !(gso->type & GSO_TCP_FIXEDID))
		layer.id = bpf_htons(bpf_ntohs(p->id) + before);
	return tcp_fingerprint(&layer, bpf_htonl(bpf_ntohl(p->sequence) + before * gso->size));
}

static __always_inline void leave_segment(const struct journey *j, struct mark m, __u64 fingerprint, __u64 now)
{
	struct bucket b;
	__u32 way = bucket_of(fingerprint, &b) ? claim(&b, fingerprint, now) : WAYS;

	if (way >= WAYS) {
		count(COUNT_COLLISION);
		return;
	}
	b.tag[way] = 0;
	barrier();
	__builtin_memcpy(&b.journey[way], j, sizeof(*j));
	b.journey[way].fingerprint = fingerprint;
	b.journey[way].split_at = j->hops;
	b.journey[way].segments = 1;
	m.fingerprint = fingerprint;
	b.mark[way] = m;
	barrier();
	b.tag[way] = fingerprint;
}

/* A packet was split when its qdisc took it in. The segments cannot be dequeued yet: the qdisc's lock is held. */
static __always_inline void leave_segments(const struct journey *j, struct mark m, const struct packet *p,
					   const struct gso *gso, __u64 now)
{
	__u64 last = last_segment(p, gso);

	leave_segment(j, m, j->fingerprint, now);
	if (last)
		leave_segment(j, m, last, now);
}

/* Where the journey of a segment waits that has no slot of its own yet; WAYS if it is not a first or last one. */
static __always_inline __u32 waiting_segment(const struct packet *p, struct bucket *b)
{
	if (!settings.splitting || !bucket_of(p->fingerprint, b))
		return WAYS;
	__u32 way = find(b, p->fingerprint);
	return way < WAYS && b->journey[way].fingerprint == p->fingerprint ? way : WAYS;
}

/*
 * A packet without a slot comes out of a qdisc that splits: start and end are the addresses of its IP header and
 * behind its linear data, beyond how many bytes follow elsewhere. A first or last segment gets the journey that waits
 * for it, any other a light mark, by which the next hook knows that it is none that was missed.
 *
 * A function of its own, so that older verifiers look at it once and not for each packet of a bulk dequeue.
 */
__noinline int adopt(__u64 key, __u64 start, __u64 end, __u32 beyond, __u32 ifindex)
{
	struct source from = { .start = start, .end = end, .length = end - start + beyond };
	struct bucket b;
	struct packet p;

	if (!bucket_of(key, &b) || parse_headers(&from, IP, 0, &p) != PARSED)
		return 0;
	__u32 way = find(&b, key);
	if (way < WAYS && same_packet(&b, way, &p))
		return 0; /* followed, and queued on another device's account */
	way = move(p.fingerprint, &b, key, p.fingerprint);
	if (way < WAYS) {
		struct journey *j = &b.journey[way];
		j->outer = p.outer;
		j->ip_bytes = p.ip_bytes;
		pass(&b, way, HOOK_DEQUEUE, ifindex, bpf_ktime_get_ns(), b.mark[way].flags);
		return 0;
	}
	way = claim(&b, key, 0);
	if (way < WAYS) {
		struct mark m = { .ifindex = ifindex, .hook = HOOK_DEQUEUE, .flags = FLAG_LIGHT };
		m.fingerprint = p.fingerprint;
		b.mark[way] = m;
		b.tag[way] = key;
	}
	return 0;
}

/* The addresses are read as numbers: a pointer is no argument that newer verifiers let a global function have. */
static __always_inline void came_out(__u64 key, struct sk_buff *skb, __u32 ifindex)
{
	__u64 head = (__u64)BPF_CORE_READ(skb, head), data = (__u64)BPF_CORE_READ(skb, data);

	adopt(key, head + skb->network_header, data + skb->len - skb->data_len, skb->data_len, ifindex);
}

#endif
