/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What happens to a journey at each hook. */
#ifndef TRACER_HOOKS_BPF_H
#define TRACER_HOOKS_BPF_H

/* Packets of one bulk dequeue that are looked at; a driver with byte queue limits takes up to nine at once. */
#define BULK_MAX 32

/* Always on to the next program: on a TCX chain TCX_NEXT, behind clsact with direct-action TC_ACT_UNSPEC. */
#define NEXT (-1)

/* Addresses of the traced namespace itself: packets to them end in its own sockets. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u8[16]);
	__type(value, __u8);
} local_addresses SEC(".maps");

/* A packet that is at a hook for the first time; way is where its address was found, of a packet before it, or WAYS. */
static __always_inline void begin(struct __sk_buff *ctx, struct bucket *b, __u64 key, __u32 way, const struct packet *p,
				  enum hook hook, __u8 flags)
{
	__u32 weight = forget_by(sample(p), key);
	__u64 now = weight ? bpf_ktime_get_ns() : 0;

	if (way < WAYS)
		vanish(b, way);
	else
		way = make_room(b, now);
	if (way >= WAYS) {
		if (weight)
			owe(weight);
		else
			tally(COUNT_UNSAMPLED);
		return;
	}
	struct journey *j = &b->journey[way];
	struct mark m = { .ifindex = ctx->ifindex, .hook = hook, .fingerprint = p->fingerprint };
	flags |= p->flags;
	b->tag[way] = 0;
	barrier();
	if (weight) {
		__u32 segments = ctx->gso_segs;
		m.flags = flags;
		j->fingerprint = p->fingerprint;
		j->outer = p->outer;
		j->first = p->flow;
		j->last = p->flow;
		j->time_ns[0] = now;
		j->ifindex[0] = ctx->ifindex;
		j->hook[0] = hook;
		j->skb_bytes = ctx->len;
		j->ip_bytes = p->ip_bytes;
		j->wire_bytes = ctx->wire_len;
		j->segments = segments ? segments : 1;
		j->split_at = 0;
		j->hops = 1;
		j->flags = flags;
		j->weight = weight + started();
	} else {
		m.flags = flags | FLAG_LIGHT;
		tally(COUNT_UNSAMPLED);
	}
	b->mark[way] = m;
	barrier();
	b->tag[way] = key;
}

/* Another tc hook of a packet that is not followed. */
static __always_inline void move_mark(const struct __sk_buff *ctx, struct bucket *b, __u32 way, enum hook hook, __u8 flags)
{
	b->mark[way].ifindex = ctx->ifindex;
	b->mark[way].hook = hook;
	b->mark[way].flags = flags;
}

/* ... and of one that is, or may be. */
static __always_inline void go_on(struct __sk_buff *ctx, struct bucket *b, __u64 key, __u32 way, const struct packet *p,
				  enum hook hook, __u8 flags, __u64 now)
{
	struct journey *j = &b->journey[way];

	flags |= p->flags | (b->mark[way].flags & (FLAG_ENCAP | FLAG_LIGHT));
	if (flags & FLAG_LIGHT) {
		move_mark(ctx, b, way, hook, flags);
		return;
	}
	j->outer = p->outer;
	j->last = p->flow;
	j->wire_bytes = ctx->wire_len;
	pass(b, way, hook, ctx->ifindex, now, flags);
	if (b->tag[way] != key) {
		/* Taken over while it was written: whoever did has our hook in his journey. */
		count(COUNT_TORN);
		clear(b, way);
	}
}

/*
 * Whether a tc hook continues the journey in its slot. A packet does not come twice to the same hook: then it is
 * a new one with its predecessor's address and contents (a retransmission). For a packet that is sampled the clock
 * is read, into now.
 */
static __always_inline bool continues(const struct bucket *b, __u32 way, __u32 ifindex, enum hook hook, __u64 *now)
{
	struct mark m = b->mark[way];

	if (m.flags & FLAG_DELIVERED || (m.ifindex == ifindex && m.hook == hook))
		return false;
	if (m.flags & FLAG_LIGHT)
		return true;
	*now = bpf_ktime_get_ns();
	return !stale(b, way, *now);
}

static __always_inline bool parsed_ip(struct __sk_buff *ctx, bool ethernet, struct packet *p)
{
	switch (parse_tc(ctx, ethernet, p)) {
	case PARSED:
		return true;
	case MALFORMED:
		count(COUNT_MALFORMED);
		return false;
	case TOO_DEEP:
		count(COUNT_TOO_DEEP);
		return false;
	default:
		return false;
	}
}

static __always_inline void finish(struct bucket *b, __u32 way)
{
	struct journey *j = &b->journey[way];

	tally(COUNT_FINISHED);
	send(j, RECORD_JOURNEY, 0, 0, j->time_ns[last_index(j->hops)]);
}

static __always_inline int ingress(struct __sk_buff *ctx, bool ethernet)
{
	__u64 key = key_of(ctx);
	struct bucket b;
	struct packet p;

	if (!bucket_of(key, &b))
		return NEXT;
	/* First, so that the bucket is fetched while the packet is parsed. */
	__u32 way = find(&b, key);
	if (!parsed_ip(ctx, ethernet, &p))
		return NEXT;
	way = of_packet(&b, way, key, &p);
	__u64 now = 0;
	if (way >= WAYS || !continues(&b, way, ctx->ifindex, HOOK_INGRESS, &now)) {
		begin(ctx, &b, key, way, &p, HOOK_INGRESS, 0);
		return NEXT;
	}
	go_on(ctx, &b, key, way, &p, HOOK_INGRESS, 0, now);
	/* Out of a tunnel and to this node itself: no further hook will see it. A light mark is in nobody's way. */
	if (b.mark[way].flags & FLAG_LIGHT || !bpf_map_lookup_elem(&local_addresses, p.flow.destination))
		return NEXT;
	finish(&b, way);
	clear(&b, way);
	return NEXT;
}

/*
 * Whether a packet at an egress is one that is not followed, by where it came in: each packet's mark was seen to there, so
 * it need not be parsed again.
 */
static __always_inline bool passes_by(const struct __sk_buff *ctx, struct mark m)
{
	return m.flags & FLAG_LIGHT && m.hook == HOOK_INGRESS && m.ifindex == ctx->ingress_ifindex;
}

static __always_inline int egress(struct __sk_buff *ctx, bool ethernet, __u8 flags)
{
	__u64 key = key_of(ctx);
	struct bucket b;
	struct packet p;

	if (!bucket_of(key, &b))
		return NEXT;
	__u32 way = find(&b, key), found = way;
	asm volatile("" : "+r"(found)); /* as in vanish(): it may be compared in another register */
	found &= WAYS - 1;
	if (way < WAYS && passes_by(ctx, b.mark[found])) {
		move_mark(ctx, &b, found, HOOK_EGRESS, flags | FLAG_LIGHT | (b.mark[found].flags & FLAG_ENCAP));
		return NEXT;
	}
	way = forget_by(way, key); /* what the comparison has taught the verifier */
	if (!parsed_ip(ctx, ethernet, &p))
		return NEXT;
	way = of_packet(&b, way, key, &p);
	__u64 now = 0;
	if (way >= WAYS)
		way = take_over(&b, key, &p);
	if (way < WAYS && continues(&b, way, ctx->ifindex, HOOK_EGRESS, &now))
		go_on(ctx, &b, key, way, &p, HOOK_EGRESS, flags, now);
	else if (!ctx->ingress_ifindex && !(p.flags & FLAG_ENCAP))
		begin(ctx, &b, key, way, &p, HOOK_EGRESS, flags);
	else
		tally(COUNT_ORPHAN); /* forwarded, or the outside of a tunnel of ours: its begin was not seen */
	return NEXT;
}

/*
 * A tracepoint asks this first: packets of all namespaces come by, pods' own among them, and a slot may be in no cache yet,
 * unlike what the stack has just read of the device.
 */
static __always_inline bool traced(const struct net_device *dev)
{
	return dev->nd_net.net->ns.inum == settings.netns;
}

/*
 * Whether the packet is still the one whose word was read at the last tc hook. What lies behind an encrypting
 * device has no word to compare.
 */
static __always_inline bool same_word(const struct journey *j, struct sk_buff *skb)
{
	__u64 word;

	if (!read_word(skb->head + skb->network_header, &word))
		return false;
	return outer_word(word) == j->outer;
}

/* A packet waiting on this device; WAYS if the slot is another's. */
static __always_inline __u32 find_waiting(struct bucket *b, __u64 key, struct sk_buff *skb, __u32 ifindex)
{
	__u32 way = find(b, key);

	if (way >= WAYS)
		return WAYS;
	struct mark m = b->mark[way];
	if (m.flags & FLAG_DELIVERED || !queued(m.hook) || m.ifindex != ifindex)
		return WAYS;
	if (!(m.flags & FLAG_LIGHT) && !same_word(&b->journey[way], skb)) {
		give_up(b, way);
		return WAYS;
	}
	return way;
}

/* split: whether the device's qdisc splits. */
static __always_inline void dequeued(struct sk_buff *skb, __u32 ifindex, bool split)
{
	__u64 key = key_of(skb);
	struct bucket b;

	if (!bucket_of(key, &b))
		return;
	__u32 way = find_waiting(&b, key, skb, ifindex);
	if (way >= WAYS) {
		if (split && is_ip(skb))
			came_out(key, skb, ifindex);
		return;
	}
	struct mark m = b.mark[way];
	if (m.flags & FLAG_LIGHT) {
		b.mark[way].hook = HOOK_DEQUEUE;
		return;
	}
	if (m.hook == HOOK_DEQUEUE) {
		/* The driver had sent it back: the last time counts. */
		struct journey *j = &b.journey[way];
		j->time_ns[last_index(j->hops)] = bpf_ktime_get_ns();
		count(COUNT_REQUEUED);
		return;
	}
	pass(&b, way, HOOK_DEQUEUE, m.ifindex, bpf_ktime_get_ns(), m.flags);
}

static __always_inline void transmitted(struct sk_buff *skb, struct net_device *dev)
{
	if (!traced(dev))
		return;
	__u64 key = key_of(skb);
	struct bucket b;

	if (!bucket_of(key, &b))
		return;
	__u32 way = find_waiting(&b, key, skb, dev->ifindex);
	if (way >= WAYS)
		return;
	struct mark m = b.mark[way];
	if (m.flags & FLAG_LIGHT)
		b.mark[way].hook = HOOK_XMIT;
	else
		pass(&b, way, HOOK_XMIT, m.ifindex, bpf_ktime_get_ns(), m.flags);
	if (!(m.flags & FLAG_LAST))
		return;
	if (!(m.flags & FLAG_LIGHT))
		finish(&b, way);
	if (m.flags & FLAG_POD)
		b.mark[way].flags |= FLAG_DELIVERED;
	else
		clear(&b, way);
}

static __always_inline void consumed(struct sk_buff *skb)
{
	__u64 key = key_of(skb);
	struct bucket b;
	struct packet p;
	struct gso gso;

	if (!bucket_of(key, &b))
		return;
	__u32 way = find(&b, key);
	if (way >= WAYS)
		return;
	struct mark m = b.mark[way];
	if (m.flags & (FLAG_LIGHT | FLAG_DELIVERED)) {
		clear(&b, way);
		return;
	}
	if (!queued(m.hook)) {
		hand_over(&b, way, key);
		return;
	}
	/* By its contents: the split of a tunnel's packet has moved the network header to the inner one's. */
	if (parse_skb(skb, &p) != PARSED || !same_packet(&b, way, &p)) {
		give_up(&b, way);
		return;
	}
	gso_of(skb, &gso);
	if (!gso.size) {
		vanish(&b, way);
		return;
	}
	struct journey *j = &b.journey[way];
	__u64 now = bpf_ktime_get_ns();
	if (m.hook == HOOK_EGRESS && splits(m.ifindex)) {
		leave_segments(j, m, &p, &gso, now);
		j->split_at = j->hops;
	}
	pass(&b, way, HOOK_FREE, m.ifindex, now, m.flags);
	count(COUNT_SPLIT);
	send(j, RECORD_SPLIT, 0, 0, now);
	clear(&b, way);
}

#endif
