/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Drops: never sampled, and placed by the packet's slot. */
#ifndef TRACER_DROP_BPF_H
#define TRACER_DROP_BPF_H

static __always_inline bool quiet(__u32 reason)
{
	return reason < 256 && settings.quiet_reasons[reason >> 6 & 3] >> (reason & 63) & 1;
}

/* Makes a journey of one hook for a drop of which only the packet and its last place are known. */
static __always_inline void lone_drop(struct journey *j, struct sk_buff *skb, const struct packet *p, __u8 hook,
				      __u32 ifindex, __u64 now)
{
	struct gso gso;

	gso_of(skb, &gso);
	j->fingerprint = p->fingerprint;
	j->outer = p->outer;
	j->first = p->flow;
	j->last = p->flow;
	j->skb_bytes = skb->len;
	j->ip_bytes = p->ip_bytes;
	j->wire_bytes = skb->len;
	j->weight = 1;
	j->segments = gso.segments ? gso.segments : 1;
	j->time_ns[0] = now;
	j->ifindex[0] = ifindex;
	j->hook[0] = hook;
	j->hops = 1;
}

/*
 * A loss without a slot: the packet was at no hook before, or its slot has been taken since it was delivered. Lost on
 * the way to a pod's own sockets it is the pod's, by its address: other namespaces may have packets for it too, nodes
 * of a cluster in one kernel for example, and only route them on.
 */
static __always_inline void dropped_unplaced(struct sk_buff *skb, struct packet *p, __u64 location, __u32 reason)
{
	struct net_device *dev = skb->dev;
	struct journey j = { .flags = p->flags };
	__u64 now = bpf_ktime_get_ns();

	/* Sockets and some qdiscs keep other things in skb->dev; then this reads nothing that matches. */
	if (dev && traced(dev)) {
		j.flags |= FLAG_UNPLACED;
		lone_drop(&j, skb, p, HOOK_FREE, dev->ifindex, now);
	} else {
		__u32 *ifindex = bpf_map_lookup_elem(&local_pods, p->flow.destination);

		if (!ifindex || !routed_here(skb))
			return;
		lone_drop(&j, skb, p, HOOK_XMIT, *ifindex, now);
		j.time_ns[1] = now;
		j.ifindex[1] = *ifindex;
		j.hook[1] = HOOK_FREE;
		j.hops = 2;
	}
	count(COUNT_DROPPED);
	send(&j, RECORD_DROP, reason, location, j.time_ns[0]);
}

static __always_inline void dropped(struct sk_buff *skb, __u64 location, __u32 reason)
{
	__u64 key = key_of(skb);
	struct bucket b;
	struct packet p;

	if (!bucket_of(key, &b))
		return;
	__u32 way = find(&b, key);
	if (quiet(reason)) {
		if (way < WAYS)
			vanish(&b, way);
		return;
	}
	if (!is_ip(skb) || parse_skb(skb, &p) != PARSED)
		return;
	if (asks_for_connection(skb, &p))
		p.flags |= FLAG_SYN;
	way = of_packet(&b, way, key, &p);
	if (way >= WAYS)
		way = waiting_segment(&p, &b);
	if (way >= WAYS) {
		dropped_unplaced(skb, &p, location, reason);
		return;
	}
	struct journey *j = &b.journey[way];
	struct mark m = b.mark[way];
	__u64 now = bpf_ktime_get_ns();
	/* Drops are never sampled: the mark tells where, the packet itself the rest. */
	if (m.flags & FLAG_LIGHT)
		lone_drop(j, skb, &p, m.hook, m.ifindex, now);
	pass(&b, way, HOOK_FREE, m.ifindex, now, m.flags | (p.flags & FLAG_SYN));
	count(COUNT_DROPPED);
	send(j, RECORD_DROP, reason, location, now);
	clear(&b, way);
}

#endif
