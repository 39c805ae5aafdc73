/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * How TCP connections of this node's pods, and of the traced namespace itself, stand: round trips, retransmissions,
 * windows, what the application has not read. The kernel keeps all that; here it is read some times a second for each
 * connection, and sent as it has changed.
 */
#ifndef TRACER_TCP_BPF_H
#define TRACER_TCP_BPF_H

#define TCP_INTERVAL_NS 100000000ull /* between two records of a connection */
#define TCP_NEW_SEGMENTS 3 /* that a connection has received at most when it is met at its beginning */

enum tcp_limit {
	TCP_BUCKETS = 4096, /* of as many ways, for connections */
	TCP_WINDOW_SHIFT = 27, /* so many nanoseconds, 134 ms by their binary logarithm, */
	TCP_WINDOW_RECORDS = 256, /* have at most so many records, of all connections together */
};

enum { ADDRESS_FAMILY_INET = 2, ADDRESS_FAMILY_INET6 = 10, CHRONO_WAITS_FOR_WINDOW = 2 /* TCP_CHRONO_RWND_LIMITED */ };

/* What a connection had when it was last looked at; what is counted wraps around. */
struct connection {
	__u64 tag; /* connection_key(); 0 is an empty way */
	__u64 time_ns; /* of the record before */
	__u32 looked; /* in jiffies */
	__u32 segments;
	__u32 retransmits;
	__u32 spurious;
	__u32 delivered;
	__u32 read; /* sequence number */
	__u32 limited; /* in jiffies */
	__u32 acked; /* bytes */
	__u32 resent; /* sequence number of the segment that was sent again last and is not confirmed yet; 0: there is none */
	__u32 jiffies; /* of the record before; 0: there was none */
};

struct connections {
	struct connection way[WAYS];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TCP_BUCKETS);
	__type(key, __u32);
	__type(value, struct connections);
} connections SEC(".maps");

/* How many records there were in a window of time. CPUs may miscount by a few. */
struct tcp_budget {
	__u64 window;
	__u64 records;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tcp_budget);
} tcp_budget SEC(".maps");

/* This node's pods by address, with their device on this side: user space keeps it. A full one leaves some out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u8[16]);
	__type(value, __u32);
} local_pods SEC(".maps");

/* Whether a segment asks for a connection: SYN and no ACK. Inside a tunnel its header's place is not known. */
static __always_inline bool asks_for_connection(struct sk_buff *skb, const struct packet *p)
{
	enum { FLAGS_OFFSET = 13, SYN = 2, ACK = 16 };
	__u8 flags = 0;

	if (p->flow.protocol != IPPROTO_TCP || p->flags & (FLAG_ENCAP | FLAG_FRAGMENT))
		return false;
	if (bpf_probe_read_kernel(&flags, sizeof(flags), skb->head + skb->transport_header + FLAGS_OFFSET))
		return false;
	return (flags & (SYN | ACK)) == SYN;
}

/* A socket's address, which is soon another connection's, with the ports. */
static __always_inline __u64 connection_key(const struct sock *sk)
{
	__u32 ports = (__u32)sk->__sk_common.skc_num << 16 | sk->__sk_common.skc_dport;

	return key_of(sk) ^ (__u64)ports << 32;
}

/* The connection's way in its bucket, another's that has been looked at least lately if it has none yet. */
static __always_inline struct connection *connection_of(__u64 key, __u32 jiffies)
{
	__u32 i = (key >> 6) * 0x9e3779b97f4a7c15ull >> 52;
	struct connections *all = bpf_map_lookup_elem(&connections, &i);
	__u32 found = 0, age = 0;

	_Static_assert(TCP_BUCKETS == 1 << 12, "the shift above");
	if (!all)
		return NULL;
#pragma clang loop unroll(full)
	for (__u32 way = 0; way < WAYS; way++) {
		if (all->way[way].tag == key) {
			found = way;
			break;
		}
		__u32 since = all->way[way].tag ? jiffies - all->way[way].looked : ~0u;
		if (since > age) {
			found = way;
			age = since;
		}
	}
	found = forget_by(found, key);
	return &all->way[found & (WAYS - 1)];
}

static __always_inline bool within_budget(__u64 now)
{
	__u32 zero = 0;
	struct tcp_budget *b = bpf_map_lookup_elem(&tcp_budget, &zero);

	if (!b)
		return false;
	if (b->window != now >> TCP_WINDOW_SHIFT) {
		b->window = now >> TCP_WINDOW_SHIFT;
		b->records = 0;
	}
	return b->records++ < TCP_WINDOW_RECORDS;
}

/*
 * When a packet that TCP has just got went to a pod's device, and which: the slot stays after delivery. 0 if it is not
 * there. TCP frees what was read without a tracepoint, so the slot may be of an earlier packet at that address.
 */
static __always_inline __u64 delivered_at(struct sk_buff *skb, __u32 *ifindex)
{
	__u64 key = key_of(skb);
	struct bucket b;
	struct packet p;

	if (!bucket_of(key, &b))
		return 0;
	__u32 way = find(&b, key);
	if (way >= WAYS)
		return 0;
	struct mark m = b.mark[way];
	if ((m.flags & (FLAG_DELIVERED | FLAG_LIGHT)) != FLAG_DELIVERED)
		return 0;
	struct journey *j = &b.journey[way];
	if (parse_skb(skb, &p) != PARSED || p.fingerprint != j->fingerprint)
		return 0;
	*ifindex = m.ifindex;
	return j->time_ns[last_index(j->hops)];
}

static __always_inline void map_address(__u8 *to, __be32 address)
{
	__u32 *words = (__u32 *)to;

	words[0] = words[1] = 0;
	words[2] = bpf_htonl(0xffff);
	words[3] = address;
}

/* The connection's addresses from this end. A machine's talk with itself is none of ours. */
static __always_inline bool flow_of(struct sock *sk, struct flow *flow)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	if (family == ADDRESS_FAMILY_INET) {
		map_address(flow->source, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		map_address(flow->destination, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	} else if (family == ADDRESS_FAMILY_INET6) {
		BPF_CORE_READ_INTO((struct in6_addr *)flow->source, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO((struct in6_addr *)flow->destination, sk, __sk_common.skc_v6_daddr);
	} else {
		return false;
	}
	flow->source_port = bpf_htons(BPF_CORE_READ(sk, __sk_common.skc_num));
	flow->destination_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	flow->protocol = IPPROTO_TCP;
	const __u64 *source = (const __u64 *)flow->source, *destination = (const __u64 *)flow->destination;
	return source[0] != destination[0] || source[1] != destination[1];
}

/*
 * Whether this end is in the namespace that is traced, or a pod's: then by which device it is reached. Of a pair of
 * devices that is told by the other end of the one that it sends by; addresses alone may be others' too, in namespaces
 * of another cluster on this machine.
 */
static __always_inline bool is_ours(struct sock *sk, const struct flow *flow, bool delivered, __u32 *ifindex)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum) == settings.netns) {
		*ifindex = 0;
		return true;
	}
	if (delivered)
		return true;
	struct net_device *dev = BPF_CORE_READ(sk, sk_dst_cache, dev);
	struct net_device *peer = dev ? peer_of(dev) : NULL;
	if (peer) {
		*ifindex = BPF_CORE_READ(peer, ifindex);
		return BPF_CORE_READ(peer, nd_net.net, ns.inum) == settings.netns;
	}
	__u32 *pod = bpf_map_lookup_elem(&local_pods, flow->source);
	if (pod)
		*ifindex = *pod;
	return pod;
}

/* How long nothing but the other end's window kept the connection from sending, in jiffies. */
static __always_inline __u32 limited(const struct tcp_sock *tp, __u32 jiffies)
{
	__u32 sum = BPF_CORE_READ(tp, chrono_stat[CHRONO_WAITS_FOR_WINDOW - 1]);

	if (BPF_CORE_READ_BITFIELD_PROBED(tp, chrono_type) == CHRONO_WAITS_FOR_WINDOW)
		sum += jiffies - BPF_CORE_READ(tp, chrono_start);
	return sum;
}

/* Sends how the connection stands, and how it has changed since before, which becomes what it is now. */
static __always_inline void send_connection(const struct tcp_sock *tp, struct connection *before, const struct tcp_record *base)
{
	struct tcp_record *r = bpf_ringbuf_reserve(&records, sizeof(*r), 0);
	struct connection now = { .tag = before->tag, .time_ns = base->time_ns, .looked = before->looked };

	if (!r) {
		count(COUNT_LOST_TCP);
		return;
	}
	__builtin_memcpy(r, base, sizeof(*r));
	now.jiffies = before->looked;
	now.segments = BPF_CORE_READ(tp, data_segs_out);
	now.retransmits = BPF_CORE_READ(tp, total_retrans);
	now.spurious = BPF_CORE_READ(tp, dsack_dups);
	now.delivered = BPF_CORE_READ(tp, delivered);
	now.read = BPF_CORE_READ(tp, copied_seq);
	now.limited = limited(tp, now.jiffies);
	now.acked = BPF_CORE_READ(tp, bytes_acked);
	now.resent = before->resent;
	if (before->jiffies) {
		__u32 jiffies = now.jiffies - before->jiffies;
		r->span_ns = now.time_ns - before->time_ns;
		if (jiffies)
			r->limited_ns = r->span_ns * (now.limited - before->limited) / jiffies;
		r->read_bytes = now.read - before->read;
	} else if (BPF_CORE_READ(tp, segs_in) > TCP_NEW_SEGMENTS) {
		/* What it did before we met it is nobody's. */
		before->segments = now.segments;
		before->retransmits = now.retransmits;
		before->spurious = now.spurious;
		before->delivered = now.delivered;
		before->acked = now.acked;
	}
	r->segments = now.segments - before->segments;
	r->retransmits = now.retransmits - before->retransmits;
	r->spurious = now.spurious - before->spurious;
	r->delivered = now.delivered - before->delivered;
	r->acked_bytes = now.acked - before->acked;
	*before = now;

	__u32 received = BPF_CORE_READ(tp, rcv_nxt), sent = BPF_CORE_READ(tp, snd_nxt);
	__u32 free = BPF_CORE_READ(tp, rcv_wup) + BPF_CORE_READ(tp, rcv_wnd) - received;
	if (r->delivered)
		r->rtt_us = BPF_CORE_READ(tp, rack.rtt_us);
	r->srtt_us = BPF_CORE_READ(tp, srtt_us) >> 3;
	r->rtt_min_us = BPF_CORE_READ(tp, rtt_min.s[0].v);
	r->unread_bytes = received - now.read;
	r->receive_window = (__s32)free > 0 ? free : 0;
	r->send_window = BPF_CORE_READ(tp, snd_wnd);
	r->unsent_bytes = BPF_CORE_READ(tp, write_seq) - sent;
	r->congestion_window = BPF_CORE_READ(tp, snd_cwnd);
	r->in_flight = BPF_CORE_READ(tp, packets_out);
	r->mss = BPF_CORE_READ(tp, mss_cache);
	bool full = bpf_ringbuf_query(&records, BPF_RB_AVAIL_DATA) >= settings.wakeup_bytes;
	bpf_ringbuf_submit(r, full ? BPF_RB_FORCE_WAKEUP : BPF_RB_NO_WAKEUP);
}

/* What TCP notes of a segment. */
static __always_inline const struct tcp_skb_cb *segment_of(struct sk_buff *skb)
{
	return (const struct tcp_skb_cb *)__builtin_preserve_access_index(&skb->cb);
}

/* Whether what was sent again is confirmed up to there. */
static __always_inline bool repaired_by(const struct connection *c, __u32 confirmed)
{
	return (__s32)(confirmed - c->resent) > 0;
}

/*
 * A connection has received skb, or sent again what is in again. A look at the tick's count, which costs nothing, turns
 * away what comes within the same one; the clock all that comes within the interval. What confirms a segment that was
 * sent again is not turned away: of a short connection nothing else may come that tells. TCP works it off afterwards.
 */
static __always_inline void connection(struct sock *sk, struct sk_buff *skb, struct sk_buff *again)
{
	__u64 key = connection_key(sk);
	__u32 jiffies = bpf_jiffies64();
	struct connection *c = connection_of(key, jiffies);

	if (!c)
		return;
	bool known = c->tag == key;
	bool repaired = known && c->resent && repaired_by(c, skb ? BPF_CORE_READ(segment_of(skb), ack_seq) :
								   BPF_CORE_READ((const struct tcp_sock *)sk, snd_una));
	if (known && !repaired && c->looked == jiffies)
		return;
	__u64 now = bpf_ktime_get_ns();
	if (known && !repaired && skb && now - c->time_ns < TCP_INTERVAL_NS) {
		c->looked = jiffies;
		return;
	}
	if (!within_budget(now))
		return;
	/* Not before: clearing it would be most of what is done for a segment. */
	struct tcp_record r = { .kind = RECORD_TCP, .time_ns = now, .repaired = repaired };
	if (!known)
		*c = (struct connection){ .tag = key };
	c->looked = jiffies;
	__u64 delivered = skb ? delivered_at(skb, &r.ifindex) : 0;
	if (!flow_of(sk, &r.flow) || !is_ours(sk, &r.flow, delivered, &r.ifindex)) {
		c->time_ns = now; /* not ours: looked at again after the interval */
		return;
	}
	if (delivered)
		r.deliver_ns = now - delivered;
	if (repaired)
		c->resent = 0;
	if (again) {
		__u32 sequence = BPF_CORE_READ(segment_of(again), seq);
		r.resent_bytes = BPF_CORE_READ(again, len);
		r.stuck = c->resent && c->resent == sequence;
		c->resent = sequence;
	}
	r.state = BPF_CORE_READ(sk, __sk_common.skc_state);
	send_connection((const struct tcp_sock *)sk, c, &r);
}

#endif
