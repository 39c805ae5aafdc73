/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The pod's own end of its device. Packets wait there, and are lost there, before any hook of the traced namespace sees
 * them: in a qdisc that somebody put on the pod's eth0, by a rule in the pod.
 */
#ifndef TRACER_POD_BPF_H
#define TRACER_POD_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "compat.bpf.h"
#include "config.bpf.h"
#include "counter.bpf.h"
#include "coverage.bpf.h"
#include "evict.bpf.h"
#include "journey.bpf.h"
#include "kernel.h"
#include "netns.bpf.h"
#include "parse.bpf.h"
#include "sample.bpf.h"
#include "segment.bpf.h"
#include "slot.bpf.h"

/* Pods' ends that were met, by the index of the device on this side. A full map leaves some out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, struct pod_end);
} tracer_pod_ends SEC(".maps");

/*
 * The device on this side of one in another namespace, if that is a pod's; NULL if not. Reads by helpers alone, since it may
 * be no device at all.
 */
static __always_inline const struct device *pod_device_of(struct net_device *dev)
{
	struct net_device *peer = peer_of(dev);

	if (!peer || !may_be_in_netns(peer))
		return NULL;
	const struct device *device = find_device(BPF_CORE_READ(peer, ifindex));
	return device && device->flags & FLAG_POD ? device : NULL;
}

/*
 * What stands at an address may be a pod's end of its device: then notes it for user space, and returns the index of the
 * device on this side; else 0. dequeued: packets come out of its qdisc. A global function: the verifier looks at it by itself.
 */
__noinline int meet_pod_end(__u64 address, __u32 dequeued)
{
	struct net_device *dev = (void *)address;
	const struct device *device = pod_device_of(dev);
	struct pod_end end = {};

	if (!device)
		return 0;
	__u32 ifindex = device->ifindex;
	struct pod_end *known = bpf_map_lookup_elem(&tracer_pod_ends, &ifindex);
	end.netns = BPF_CORE_READ(dev, nd_net.net, ns.inum);
	if (dequeued)
		end.dequeued_ns = bpf_ktime_get_ns();
	if (known && known->netns == end.netns) {
		if (dequeued)
			known->dequeued_ns = end.dequeued_ns;
		return ifindex;
	}
	end.ifindex = BPF_CORE_READ(dev, ifindex);
	BPF_CORE_READ_STR_INTO(&end.name, dev, name);
	BPF_CORE_READ_STR_INTO(&end.qdisc, dev, qdisc, ops, id);
	bpf_map_update_elem(&tracer_pod_ends, &ifindex, &end, BPF_ANY);
	return ifindex;
}

/* A packet at its first hook: it is about to be enqueued at a pod's end of the device. */
static __always_inline void begin_in_pod(struct sk_buff *skb, const struct packet *p, __u32 ifindex)
{
	__u64 key = key_of(skb);
	struct bucket b;

	if (!bucket_of(key, &b))
		return;
	__u32 weight = make_unknown_by(sampling_weight(p), key);
	__u32 slot = claim_slot(&b, key, 0);
	if (!is_slot(slot)) {
		if (weight)
			leave_weight(weight);
		else
			count_softirq(COUNT_UNSAMPLED);
		return;
	}
	struct slot_state state = { .ifindex = ifindex, .hook = HOOK_POD_QUEUE, .fingerprint = p->fingerprint };
	state.flags = p->flags;
	b.tag[slot] = 0;
	barrier();
	if (weight) {
		struct journey *j = &b.journey[slot];
		init_journey_of(j, skb, p, HOOK_POD_QUEUE, ifindex, bpf_ktime_get_ns());
		j->flags = p->flags;
		start_in_pod(j, weight);
	} else {
		state.flags |= FLAG_UNSAMPLED;
		count_softirq(COUNT_UNSAMPLED);
	}
	b.state[slot] = state;
	barrier();
	b.tag[slot] = key;
}

/*
 * Packets come by of all devices of all namespaces: those of the traced one and those without a qdisc leave first. A journey
 * that begins here goes on at the ingress hook of the pod's device in the traced namespace: the sk_buff is the same.
 */
static __always_inline void on_pod_queue(struct sk_buff *skb)
{
	struct net_device *dev = skb->dev;
	struct packet p;

	if (in_netns(dev) || !dev->qdisc->enqueue)
		return;
	__u32 ifindex = meet_pod_end((__u64)BPF_CORE_READ(skb, dev), 0);
	if (ifindex && is_ip(skb) && parse_skb(skb, &p) == PARSED)
		begin_in_pod(skb, &p, ifindex);
}

/* Whether the qdisc at the pod's end of a device splits packets. */
static __always_inline bool pod_splits(__u32 ifindex)
{
	const struct device *d = settings.splitting ? find_device(ifindex) : NULL;

	return d && d->splits & POD_SPLITS;
}

/*
 * The index of the pod's device by which a packet without a slot was to leave its pod; 0 if it was not. A socket's packet has
 * no device yet in netfilter's output hook, but a route. Behind that the route is gone, and what remains to be told is that
 * it was not on its way in.
 */
static __always_inline __u32 leaving_pod_by(struct sk_buff *skb, const struct packet *p)
{
	const struct dst_entry *route = (const void *)(skb->_skb_refdst & ~(unsigned long)SKB_DST_NOREF);
	__u32 ifindex = meet_pod_end((__u64)(route ? BPF_CORE_READ(route, dev) : BPF_CORE_READ(skb, dev)), 0);

	if (!ifindex || is_local_route(skb->_skb_refdst, skb->protocol))
		return 0;
	__u32 *receiver = route ? NULL : bpf_map_lookup_elem(&tracer_pod_ips, p->flow.destination);
	return receiver && *receiver == ifindex ? 0 : ifindex;
}

#endif
