// SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0)
/*
 * What `make bench` measures: the functions of tc.bpf.h, queue.bpf.h and drop.bpf.h, each under a tc program that
 * BPF_PROG_TEST_RUN can repeat, and what they are compared with. Attached nowhere. It needs bpf_cast_to_kern_ctx (6.2), by
 * which a tc program gets at the sk_buff as a tracepoint does.
 */
#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "drop.bpf.h"
#include "kernel.h"
#include "netns.bpf.h"
#include "queue.bpf.h"
#include "record.h"
#include "slot.bpf.h"
#include "tc.bpf.h"

/* Types that only the benchmark needs by name: BTF keeps what a variable refers to. */
const enum hook *kept_hook __attribute__((unused));
const enum table *kept_table __attribute__((unused));
const enum flag *kept_flag __attribute__((unused));
const enum counter *kept_counter __attribute__((unused));
const enum watched_state *kept_watched_state __attribute__((unused));

char LICENSE[] SEC("license") = "GPL";

void *bpf_cast_to_kern_ctx(void *ctx) __ksym;

/* What a run finds in its packet's slot. */
struct scene {
	__u64 key; /* whose slot it was put into; 0: none yet */
	__u32 bucket; /* its index in the in-flight table */
	struct slot_state state;
	struct journey journey;
};

struct scene planted;

/* The connection of a run's packet, as each repeat finds it. */
struct connection_scene {
	__u32 place; /* in the table; see watched_at() */
	__u32 restored; /* 0: each repeat finds what the one before has left */
	__u64 tag; /* 0: it is not watched yet */
	struct watched watched;
};

struct connection_scene planted_connection;

static __always_inline void restore_connection(void)
{
	__u32 place = planted_connection.place;

	if (!planted_connection.restored)
		return;
	struct watched_bucket *b = watched_bucket_at(place / SLOTS_PER_BUCKET);
	b->tag[0] = b->tag[1] = b->tag[2] = b->tag[3] = 0;
	*watched_at(place) = planted_connection.watched;
	b->tag[masked_index(place, SLOTS_PER_BUCKET)] = planted_connection.tag;
}

/*
 * The packet's bucket with the scene in slot 0, whatever the repeat before did to it. In full only the first time:
 * each repeat changes back no more than the hooks changed.
 */
static __always_inline void restore(struct __sk_buff *ctx, enum hook last)
{
	__u64 key = key_of(ctx);
	struct bucket b;

	restore_connection();
	if (!bucket_of(key, &b))
		return;
	if (planted.key != key) {
		planted.key = key;
		planted.bucket = b.index;
		b.tag[1] = b.tag[2] = b.tag[3] = 0;
		b.state[0] = planted.state;
		b.journey[0] = planted.journey;
		b.journey[0].time_ns[0] = bpf_ktime_get_ns();
	}
	b.tag[bpf_get_smp_processor_id() & (SLOTS_PER_BUCKET - 1)] = 0; /* where a first hook begins to look for room */
	b.tag[0] = last == HOOK_NONE ? 0 : key;
	b.state[0].hook = last;
	b.state[0].flags = planted.state.flags;
	b.journey[0].hops = 1;
	b.journey[0].begun_at = planted.journey.begun_at;
}

SEC("tc")
int empty(struct __sk_buff *ctx)
{
	return NEXT;
}

SEC("tc")
int clock(struct __sk_buff *ctx)
{
	bpf_ktime_get_ns();
	return NEXT;
}

/* What the wrapper costs in each of the programs below. */
SEC("tc")
int wrapper(struct __sk_buff *ctx)
{
	restore(ctx, HOOK_INGRESS);
	return NEXT;
}

SEC("tc")
int first(struct __sk_buff *ctx)
{
	restore(ctx, HOOK_NONE);
	return on_ingress(ctx);
}

SEC("tc")
int later(struct __sk_buff *ctx)
{
	restore(ctx, HOOK_INGRESS);
	return on_egress(ctx);
}

SEC("tc")
int dequeue(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);

	restore(ctx, HOOK_EGRESS);
	if (in_netns(skb->dev))
		on_dequeue(skb, skb->dev->ifindex, device_splits(skb->dev->ifindex));
	return NEXT;
}

/* At the last device if the scene's state says so: then with its record. */
SEC("tc")
int start_xmit(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);

	restore(ctx, HOOK_EGRESS);
	on_xmit(skb, skb->dev);
	return NEXT;
}

SEC("tc")
int miss(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);

	restore(ctx, HOOK_NONE);
	on_xmit(skb, skb->dev);
	return NEXT;
}

SEC("tc")
int free_skb(struct __sk_buff *ctx)
{
	struct sk_buff *skb = bpf_cast_to_kern_ctx(ctx);

	restore(ctx, HOOK_EGRESS);
	on_drop(skb, 0, 0);
	return NEXT;
}
