/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * Which packets are followed. Each flow may start so many journeys in each epoch, so that a rare flow is seen whatever
 * else passes; beyond that a packet is followed at random, once in settings.sample_n times. What was decided at a
 * packet's first hook holds for its whole way: nothing that happens later, least of all its delay, has a say in it.
 */
#ifndef TRACER_SAMPLE_BPF_H
#define TRACER_SAMPLE_BPF_H

/* How many journeys a flow has started in an epoch, or tried to. */
struct budget {
	__u32 tag; /* of the flow */
	__u16 epoch;
	__u16 packets;
};

struct budgets {
	struct budget way[WAYS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, FLOW_BUCKETS);
	__type(key, __u32);
	__type(value, struct budgets);
} flow_budgets SEC(".maps");

static __always_inline __u64 flow_hash(const struct flow *f)
{
	const __u64 *source = (const __u64 *)f->source, *destination = (const __u64 *)f->destination;
	__u64 ports = *(const __u64 *)&f->source_port; /* and the protocol */

	/* Independent products, which the machine computes side by side; then they are mixed. */
	return mix(source[0] * 0xa0761d6478bd642full ^ source[1] * 0xe7037ed1a0b428dbull,
		   destination[0] * 0x8ebc6af09c88c6e3ull ^ destination[1] * 0x589965cc75374cc3ull ^
			   ports * 0x1d8e4e27c47d124full);
}

/* The way that a flow has; WAYS if it has none. */
static __always_inline __u32 find_budget(const struct budgets *b, __u32 tag)
{
#pragma clang loop unroll(full)
	for (__u32 way = 0; way < WAYS; way++)
		if (b->way[way].tag == tag)
			return way;
	return WAYS;
}

/* The first way that nobody has used in this epoch, so that few flows are looked for in more than one; WAYS if there is none. */
static __always_inline __u32 unused_budget(const struct budgets *b, __u16 epoch)
{
#pragma clang loop unroll(full)
	for (__u32 way = 0; way < WAYS; way++)
		if (b->way[way].epoch != epoch)
			return way;
	return WAYS;
}

/*
 * One more packet of a flow in this epoch: how many there were before. A flow for which all ways of its bucket are
 * taken by others in this epoch has no budget. Two CPUs may count one packet.
 */
static __always_inline __u32 spend(__u64 hash)
{
	/* From the top: a product's bits depend on those below, and IPv4 addresses are in the upper halves. */
	__u32 i = hash >> 52, tag = hash >> 20;
	struct budgets *b = bpf_map_lookup_elem(&flow_budgets, &i);
	__u16 epoch = settings.epoch;
	__u32 way;

	_Static_assert(FLOW_BUCKETS == 1 << 12, "the shift above");
	if (!b)
		return 0xffff;
	way = find_budget(b, tag);
	if (way >= WAYS)
		way = unused_budget(b, epoch);
	if (way >= WAYS)
		return 0xffff;
	struct budget mine = b->way[way];
	if (mine.tag != tag || mine.epoch != epoch)
		mine = (struct budget){ .tag = tag, .epoch = epoch };
	__u32 before = mine.packets;
	mine.packets += before < 0xffff;
	b->way[way] = mine;
	return before;
}

/*
 * Decides, once and at a packet's first hook, whether it is followed: the inverse of the probability with which it
 * was, or 0. Chance is the packet's own contents, with a number that user space draws for each epoch and the packet's
 * place in it: bpf_get_prandom_u32() takes as long as the rest of the hook.
 */
static __always_inline __u32 sample(const struct packet *p)
{
	__u32 n = settings.sample_n;

	if (n <= 1)
		return 1;
	__u32 before = spend(flow_hash(&p->flow));
	if (before < settings.flow_budget)
		return 1;
	__u64 chance = mix(mix(p->fingerprint, settings.salt), before) >> 32;
	/* True for one in n of the numbers below 2^32. */
	return chance * n >> 32 ? 0 : n;
}

#endif
