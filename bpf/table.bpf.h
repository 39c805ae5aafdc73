/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The in-flight table: one slot for each packet that is inside this node, found by the address of its sk_buff in
 * a bucket of four. An array and not a hash map, which costs forty times as much.
 *
 * One CPU owns an sk_buff at a time, so a slot has one writer, except that a newcomer may take over a slot that
 * looks stale, and two newcomers may take the same empty way. No atomics here return a result (5.10 refuses
 * them): the tag is cleared before the payload is written and set after it, and every later hook compares the
 * fingerprint in the mark with the one in the journey.
 */
#ifndef TRACER_TABLE_BPF_H
#define TRACER_TABLE_BPF_H

#define SECOND 1000000000ull

/* A variable, at an address that programs know without looking it up; aligned for user space, which maps it by pages. */
struct marks inflight[BUCKETS] __attribute__((aligned(4096)));

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, BUCKETS);
	__uint(map_flags, BPF_F_MMAPABLE);
	__type(key, __u32);
	__type(value, struct journeys);
} followed SEC(".maps");

/* Where a bucket's slots are. */
struct bucket {
	__u64 *tag;
	struct mark *mark;
	struct journey *journey;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct counters);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 2 << 20);
} records SEC(".maps");

#define barrier() asm volatile("" ::: "memory")

static __always_inline void count(enum counter what)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counts, &zero);

	/* Programs on one CPU may interrupt each other between load and store. */
	if (c)
		__sync_fetch_and_add(&c->count[what], 1);
}

/*
 * The same for what is counted in softirqs or with them held off alone: nothing that counts it too comes between. An
 * atomic addition takes as long as all else that a packet costs which is not followed.
 */
static __always_inline void tally(enum counter what)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counts, &zero);

	if (c)
		c->count[what]++;
}

/*
 * A packet that finds no slot is stood for by the next one on its CPU that does: that one came at nearly the same time,
 * and will meet the same. Those that end now, which user space could let stand for it, came earlier. Journeys begin, and
 * move, with softirqs held off, so nothing comes between load and store.
 */
static __always_inline void owe(__u32 weight)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counts, &zero);

	if (!c)
		return;
	__sync_fetch_and_add(&c->count[COUNT_COLLISION], 1);
	c->owed += weight;
}

/* A journey begins: for how many packets it stands beside its own weight. */
static __always_inline __u32 started(void)
{
	__u32 zero = 0;
	struct counters *c = bpf_map_lookup_elem(&counts, &zero);

	if (!c)
		return 0;
	__u64 owed = c->owed < OWED_MAX ? c->owed : OWED_MAX;
	c->count[COUNT_STARTED]++;
	c->owed -= owed;
	return owed;
}

/*
 * An sk_buff's address as a number. The verifier refuses arithmetic on a kernel pointer except the difference of
 * two, which it takes for an arbitrary number; so the table's keys are distances from one fixed address.
 */
static __always_inline __u64 key_of(const void *skb)
{
	__u64 key = (__u64)skb;

	asm volatile("%0 -= %1" : "+r"(key) : "r"(&settings));
	return key;
}

/* False never: the verifier wants to see that a look-up has been asked whether it found something. */
static __always_inline bool bucket_of(__u64 key, struct bucket *b)
{
	/*
	 * sk_buffs lie 256 bytes apart in their slabs, those of TCP's own packets 512. All within 16 KiB have the same page of
	 * marks, 64 buckets in an order that differs from page to page, or TCP's would have every other bucket alone: so the
	 * few slabs that are in use take few pages and not nearly all. What hashes 16 KiB is 2^64 over the golden ratio (Knuth,
	 * 6.4).
	 */
	__u64 i = (key >> 14) * 0x9e3779b97f4a7c15ull >> 50 ^ (key >> 8 & 63);
	__u32 index = i;
	struct journeys *j = bpf_map_lookup_elem(&followed, &index);

	_Static_assert(BUCKETS == 1 << 14, "the shift above");
	if (!j)
		return false;
	/* clang may take it back from the stack, of which the verifier knows nothing any more: hence a mask. */
	asm volatile("" : "+r"(i));
	struct marks *m = &inflight[i & (BUCKETS - 1)];
	asm volatile("" : "+r"(m)); /* and this one work out the address each time that it is used */
	*b = (struct bucket){ .tag = m->tag, .mark = m->mark, .journey = j->journey };
	return true;
}

/*
 * Makes the verifier forget what it knows of a number, by another of which it knows nothing: else it follows all that
 * comes after find() once for each way it may find.
 */
static __always_inline __u32 forget_by(__u32 number, __u32 unknown)
{
	asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+r"(number) : "r"(unknown));
	return number;
}

/* The way that holds key; WAYS if none does. */
static __always_inline __u32 find(const struct bucket *b, __u64 key)
{
	__u32 way = WAYS;

	if (b->tag[0] == key)
		way = 0;
	else if (b->tag[1] == key)
		way = 1;
	else if (b->tag[2] == key)
		way = 2;
	else if (b->tag[3] == key)
		way = 3;
	return forget_by(way, key);
}

static __always_inline bool queued(__u8 hook)
{
	return hook == HOOK_EGRESS || hook == HOOK_DEQUEUE;
}

static __always_inline __u32 last_index(__u8 hops)
{
	__u32 i = hops - 1;

	return (i < HOPS_FIRST ? i : HOPS_FIRST + (i & 1)) & (HOPS_MAX - 1);
}

static __always_inline bool stale(const struct bucket *b, __u32 way, __u64 now)
{
	const struct journey *j = &b->journey[way];
	__u64 age = now - j->time_ns[last_index(j->hops)];

	return age > (queued(b->mark[way].hook) ? AGE_QUEUED_SECONDS : AGE_ELSEWHERE_SECONDS) * SECOND;
}

/* Empties a way. A journey that was under way in it vanished: where is told by the hook that saw it last. */
static __always_inline void clear(struct bucket *b, __u32 way)
{
	b->tag[way] = 0;
}

static __always_inline void vanish(struct bucket *b, __u32 way)
{
	struct mark m = b->mark[way];
	__u64 hook = m.hook - HOOK_INGRESS;

	_Static_assert(HOOK_XMIT - HOOK_INGRESS == 3, "the mask below");
	clear(b, way);
	if (m.flags & (FLAG_LIGHT | FLAG_DELIVERED) || hook > 3)
		return;
	/* clang may compare one register and count by another, of which older verifiers know no bound: hence a mask. */
	asm volatile("" : "+r"(hook));
	count(COUNT_VANISHED_INGRESS + (hook & 3));
}

/*
 * A way for a newcomer: an empty one, one that nothing is lost with, a stale one. A live packet's slot is never taken:
 * those are the slow packets, and without them the tail would look good. Marks say nothing of their age, so a light one
 * may go. CPUs begin at different ways to keep out of each other's.
 */
static __always_inline __u32 make_room(struct bucket *b, __u64 now)
{
	__u32 start = bpf_get_smp_processor_id(), way;

	for (__u32 i = 0; i < WAYS; i++) {
		way = (start + i) & (WAYS - 1);
		if (!b->tag[way])
			return way;
	}
	for (__u32 i = 0; i < WAYS; i++) {
		way = (start + i) & (WAYS - 1);
		if (b->mark[way].flags & (FLAG_LIGHT | FLAG_DELIVERED)) {
			clear(b, way);
			return way;
		}
	}
	if (!now)
		return WAYS;
	for (__u32 i = 0; i < WAYS; i++) {
		way = (start + i) & (WAYS - 1);
		if (stale(b, way, now)) {
			count(COUNT_EXPIRED);
			vanish(b, way);
			return way;
		}
	}
	return WAYS;
}

/* The way that has the key already, of whatever packet, or another one. */
static __always_inline __u32 claim(struct bucket *b, __u64 key, __u64 now)
{
	__u32 way = find(b, key);

	if (way >= WAYS)
		return make_room(b, now);
	vanish(b, way);
	return way;
}

/* Adds a hook to a journey, and to its mark with the flags that it now has. */
static __always_inline void pass(struct bucket *b, __u32 way, enum hook hook, __u32 ifindex, __u64 now, __u8 flags)
{
	struct journey *j = &b->journey[way];
	struct mark m = { .ifindex = ifindex, .hook = hook, .flags = flags, .fingerprint = b->mark[way].fingerprint };

	/* The hook before the count, the mark last: a scan that comes between the two sees the journey as it was. */
	__u8 hops = j->hops < 255 ? j->hops + 1 : j->hops;
	__u32 i = last_index(hops);
	j->time_ns[i] = now;
	j->ifindex[i] = ifindex;
	j->hook[i] = hook;
	barrier();
	j->hops = hops;
	j->flags = flags;
	b->mark[way] = m;
}

static __always_inline bool same_packet(const struct bucket *b, __u32 way, const struct packet *p)
{
	if (b->mark[way].fingerprint != (__u16)p->fingerprint)
		return false;
	return b->mark[way].flags & FLAG_LIGHT || b->journey[way].fingerprint == p->fingerprint;
}

/*
 * Clears a slot in which another packet is than was expected. After an ingress that is nothing strange: a packet to a
 * socket of the node's own ends without a hook, and its address is used again.
 */
static __always_inline void give_up(struct bucket *b, __u32 way)
{
	struct mark m = b->mark[way];

	if (m.hook == HOOK_INGRESS || m.flags & (FLAG_LIGHT | FLAG_DELIVERED)) {
		vanish(b, way);
		return;
	}
	count((__u16)b->journey[way].fingerprint == m.fingerprint ? COUNT_MISMATCH : COUNT_TORN);
	clear(b, way);
}

/*
 * The way that find() found if its journey is this packet's; else WAYS, and what is there in its stead is cleared. While
 * the packet was parsed another CPU's newcomer may have taken the way of one that is not followed.
 */
static __always_inline __u32 of_packet(struct bucket *b, __u32 way, __u64 key, const struct packet *p)
{
	if (way >= WAYS || b->tag[way] != key)
		return WAYS;
	if (!same_packet(b, way, p)) {
		give_up(b, way);
		return WAYS;
	}
	return way;
}

/*
 * Moves a packet's journey from the key under which it waited for its next sk_buff to that one's; its way, WAYS if it
 * is not there.
 */
static __always_inline __u32 move(__u64 from_key, struct bucket *b, __u64 key, __u64 fingerprint)
{
	struct bucket from;

	if (!bucket_of(from_key, &from))
		return WAYS;
	__u32 old = find(&from, from_key);
	if (old >= WAYS || from.journey[old & (WAYS - 1)].fingerprint != fingerprint)
		return WAYS;
	__u32 way = claim(b, key, 0);
	if (way < WAYS) {
		b->tag[way] = 0;
		barrier();
		__builtin_memcpy(&b->journey[way], &from.journey[old & (WAYS - 1)], sizeof(struct journey));
		b->mark[way] = from.mark[old & (WAYS - 1)];
		barrier();
		b->tag[way] = key;
	} else {
		owe(from.journey[old & (WAYS - 1)].weight);
	}
	clear(&from, old & (WAYS - 1));
	return way;
}

/* Sends a record and counts what could not be sent. */
static __always_inline void send(const struct journey *j, enum record_kind kind, __u32 reason, __u64 location, __u64 now)
{
	struct record *r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);

	if (!r) {
		count(COUNT_LOST_JOURNEY + kind - RECORD_JOURNEY);
		return;
	}
	r->kind = kind;
	r->reason = reason;
	r->location = location;
	r->time_ns = now;
	__builtin_memcpy(&r->journey, j, sizeof(*j));
	/* The reader also looks by a timer; a wake-up for each record would cost four times the record. */
	bool full = bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) >= settings.wakeup_bytes;
	bpf_ringbuf_submit(r, full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

#endif
