// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * The programs. Each says which kernel function calls it and in which context; what they do with the packet stands in
 * tc.bpf.h, queue.bpf.h, drop.bpf.h and tcp.bpf.h.
 */
#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#include "capture.bpf.h"
#include "compat.bpf.h"
#include "drop.bpf.h"
#include "held.bpf.h"
#include "kernel.h"
#include "listener.bpf.h"
#include "netns.bpf.h"
#include "pod.bpf.h"
#include "queue.bpf.h"
#include "record.h"
#include "segment.bpf.h"
#include "tc.bpf.h"
#include "tcp.bpf.h"
#include "verifier.bpf.h"

/* Types that only the loader needs by name: BTF keeps what a variable refers to. */
const enum hook *kept_hook __attribute__((unused));
const enum hops *kept_hops __attribute__((unused));
const enum table *kept_table __attribute__((unused));
const enum record_kind *kept_record_kind __attribute__((unused));
const enum flag *kept_flag __attribute__((unused));
const enum counter *kept_counter __attribute__((unused));
const struct record *kept_record __attribute__((unused));
const struct captured *kept_captured __attribute__((unused));
const struct tcp_record *kept_tcp_record __attribute__((unused));
const struct listener_query *kept_listener_query __attribute__((unused));
const struct listener_answer *kept_listener_answer __attribute__((unused));
const struct device_bucket *kept_device_bucket __attribute__((unused));
const struct pod_end *kept_pod_end __attribute__((unused));
const enum splits *kept_splits __attribute__((unused));
const struct request_record *kept_request_record __attribute__((unused));
const struct watched_bucket *kept_watched_bucket __attribute__((unused));
const enum request_kind *kept_request_kind __attribute__((unused));
const enum watched_state *kept_watched_state __attribute__((unused));
const enum watched_flag *kept_watched_flag __attribute__((unused));
const enum request_size *kept_request_size __attribute__((unused));
const struct coverage *kept_coverage __attribute__((unused));

char LICENSE[] SEC("license") = "GPL";

/*
 * sch_handle_ingress(), in softirq. Like the next it serves all devices: what it needs to know of one is in `devices`
 * (config.bpf.h; in the kernel the map tracer_devices).
 *
 * Names have at most 15 characters, or the kernel would cut them.
 */
SEC("tc")
int tracer_ingress(struct __sk_buff *ctx)
{
	return on_ingress(ctx);
}

/* sch_handle_egress() from __dev_queue_xmit(), with bottom halves off. */
SEC("tc")
int tracer_egress(struct __sk_buff *ctx)
{
	return on_egress(ctx);
}

/*
 * Programs on tracepoints dereference only pointers that the kernel has just used itself; what may be no pointer they read
 * by a helper. Most have functions of their own, and in such programs 5.10 (Debian's 5.10.0-46) finds no handler for a
 * fault and panics. Compare 0108a4e9f358 ("bpf: ensure main program has an extable", 6.4).
 */

/*
 * dequeue_skb() in net/sched/sch_generic.c, bottom halves off. The skb may be NULL, or the head of a list that
 * the qdisc hands out in bulk. It fires again for what the driver had sent back.
 *
 * Without an skb there may be no device either (noop_qdisc), and its NULL must not be dereferenced: see above.
 */
SEC("tp_btf/qdisc_dequeue")
int BPF_PROG(tracer_dequeue, struct Qdisc *qdisc, struct netdev_queue *txq, int packets, struct sk_buff *skb)
{
	/* Before the loop: verifiers from 6.2 on search all types by name for each pointer that is dereferenced. */
	if (!skb)
		return 0;
	bool here = in_netns(txq->dev);
	if (!here && !pod_splits(meet_pod_end((__u64)BPF_CORE_READ(txq, dev), 1)))
		return 0;
	__u32 device = txq->dev->ifindex;
	/* Otherwise the verifier would walk through the loop once for each value. */
	__u32 ifindex = make_unknown_by(here ? device : POD_END, device);
	bool split = make_unknown_by(!here || device_splits(device), device);
	for (int i = 0; i < BULK_MAX && skb; i++) {
		on_dequeue(skb, ifindex, split);
		skb = skb->next;
	}
	return 0;
}

/*
 * __dev_queue_xmit() before it enqueues the packet, bottom halves off. Attached only while a pod has a qdisc at its end of
 * its device.
 */
SEC("tp_btf/net_dev_queue")
int BPF_PROG(tracer_podqueue, struct sk_buff *skb)
{
	on_pod_queue(skb);
	return 0;
}

/* xmit_one() in net/core/dev.c, under the device's TX lock unless it is lockless, bottom halves off. */
SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(tracer_xmit, struct sk_buff *skb, struct net_device *dev)
{
	on_xmit(skb, dev);
	return 0;
}

/* kfree_skb_reason() and its like, in any context, for a packet that was not delivered. */
SEC("tp_btf/kfree_skb")
int BPF_PROG(tracer_kfree, struct sk_buff *skb, void *location)
{
	on_drop(skb, (__u64)location, drop_reason(ctx));
	return 0;
}

/* consume_skb(), in any context, for a packet that has been dealt with; among them what software GSO has split. */
SEC("tp_btf/consume_skb")
int BPF_PROG(tracer_consume, struct sk_buff *skb)
{
	on_consume(skb);
	return 0;
}

/* tcp_rcv_established() before it processes the segment, with the socket locked, in softirq or from its backlog. */
SEC("tp_btf/tcp_probe")
int BPF_PROG(tracer_tcp_rcv, struct sock *sk, struct sk_buff *skb)
{
	on_tcp(sk, skb, NULL);
	return 0;
}

/* __tcp_retransmit_skb(), with the socket locked, in any context, after the segment was retransmitted. */
SEC("tp_btf/tcp_retransmit_skb")
int BPF_PROG(tracer_tcp_rtx, struct sock *sk, struct sk_buff *skb)
{
	on_tcp(sk, NULL, skb);
	return 0;
}

/* Attached nowhere: user space runs it (BPF_PROG_TEST_RUN) to ask how full a listening socket's queue is. */
SEC("tc")
int tracer_listener(struct __sk_buff *ctx)
{
	return ask_listener(ctx);
}

/* Likewise, to ask whether a packet is held where nothing queues. */
SEC("tc")
int tracer_held(struct __sk_buff *ctx)
{
	return answer_held(ctx);
}

/*
 * The following are attached only while somebody asks for packets' headers, each behind the program above at its tracepoint; see
 * capture.bpf.h.
 */
SEC("tp_btf/kfree_skb")
int BPF_PROG(tracer_cap_drop, struct sk_buff *skb, void *location)
{
	capture_dropped(skb, drop_reason(ctx));
	return 0;
}

SEC("tp_btf/qdisc_dequeue")
int BPF_PROG(tracer_cap_deq, struct Qdisc *qdisc, struct netdev_queue *txq, int packets, struct sk_buff *skb)
{
	for (int i = 0; i < CAPTURE_BULK && skb; i++) {
		capture_slow(skb, HOOK_DEQUEUE);
		skb = skb->next;
	}
	return 0;
}

SEC("tp_btf/net_dev_start_xmit")
int BPF_PROG(tracer_cap_xmit, struct sk_buff *skb, struct net_device *dev)
{
	capture_slow(skb, HOOK_XMIT);
	return 0;
}
