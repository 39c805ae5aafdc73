/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The contract between the BPF programs and the loader: what one packet's journey looks like in the in-flight
 * table and in the ring buffer, what user space configures, and what the programs count. bpf2go makes the Go types
 * from it; internal/loader proves the layout with a decode test on annotated bytes.
 *
 * Times are CLOCK_MONOTONIC nanoseconds (bpf_ktime_get_ns). Addresses, ports and other network fields stay in
 * network byte order; everything else is in the machine's.
 */
#ifndef TRACER_RECORD_H
#define TRACER_RECORD_H

#include <linux/types.h>

/* Hops that a journey keeps: the first six and the last two. */
enum hops {
	HOPS_FIRST = 6,
	HOPS_MAX = 8,
};

/* The in-flight table: 65,536 slots, 1 MiB of tags and states and 14 MiB of journeys. */
enum table {
	SLOTS_PER_BUCKET = 4,
	BUCKETS = 16384,
	FLOW_BUCKETS = 4096, /* buckets of SLOTS_PER_BUCKET flow quotas each */
	/*
	 * The age at which a slot is stale, and given up where a newcomer needs it: behind an egress a packet may rightly wait in a
	 * long queue.
	 */
	STALE_QUEUED_SECONDS = 300,
	STALE_SECONDS = 1, /* elsewhere */
	/* Weight that a journey takes from packets without a slot: bounded, so that the first after a long gap is no spike. */
	CARRIED_WEIGHT_MAX = 64,
	DEVICE_BUCKETS = 8192, /* of two devices */
	TUNNEL_PORTS_MAX = 8, /* UDP destination ports of each kind of tunnel that the programs look into */
	CLASSES = 32, /* of devices, for which coverage is counted: all pods' are one, each other device is one */
	CLASS_MASK = CLASSES - 1,
	CLASS_PORT = CLASSES, /* beside it: a bridge's port, through which frames for other MACs go on */
	CLASS_BEGINS =
		2 *
		CLASSES, /* its egress may be the first hook of a packet that came in by another device, as at an ifb */
	OWN_ADDRESS_BITS = 1 << 16,
	WATCHED_BUCKETS = 4096, /* of SLOTS_PER_BUCKET connections each, of which requests are timed */
};

enum hook {
	HOOK_NONE = 0,
	HOOK_INGRESS, /* tc ingress */
	HOOK_EGRESS, /* tc egress, in front of the qdisc */
	HOOK_DEQUEUE, /* taken from the qdisc; GSO not yet split */
	HOOK_XMIT, /* handed to the driver */
	HOOK_FREE, /* the sk_buff was freed: dropped, or its original consumed by a GSO split */
	HOOK_SOCKET, /* TCP of a pod received it, past the pod's device */
	HOOK_POD_QUEUE, /* at the pod's own end of its device, in front of the qdisc; the device is that on this side */
};

enum record_kind {
	RECORD_JOURNEY = 1, /* ended as it should: where the packet leaves the node, at a pod, in the node itself */
	RECORD_DROP, /* kfree_skb */
	RECORD_SPLIT, /* the original of a software GSO split, freed by consume_skb behind an egress; it may go on as segments */
	RECORD_TCP, /* the state of a TCP connection: a struct tcp_record instead of a struct record */
	RECORD_REQUEST, /* a request that was answered, or given up: a struct request_record */
};

/* Bits of struct journey.flags; the lower eight also of struct slot_state.flags. */
enum flag {
	FLAG_UNSAMPLED = 1, /* there is no journey: the slot's state is all there is */
	FLAG_LEAVES = 2, /* the last egress is on a device where the packet leaves this node's namespace */
	FLAG_POD = 4, /* ... and that device is a pod's */
	FLAG_REPORTED = 8, /* sent to user space; the slot is kept for a drop inside the pod, or the tunnel */
	FLAG_ENCAP = 16, /* seen inside a tunnel header at some hook */
	FLAG_FRAGMENT = 32, /* an IP fragment */
	FLAG_DEQUEUED = 64, /* behind HOOK_POD_QUEUE: it has left the pod's qdisc as it is */
	FLAG_TUNNEL = 128, /* that device is a tunnel's that is not looked into: what its driver drops is lost */
	FLAG_UNATTRIBUTED = 256, /* a drop of which neither a hook nor a pod's address tells the place */
	FLAG_SYN = 512, /* a drop of a TCP segment that opens a connection */
	FLAG_OTHERHOST = 1024, /* a drop of a frame for another MAC than the device's, which stands in outer */
};

/* The innermost IP packet's tuple. IPv4 addresses are IPv4-mapped (::ffff:a.b.c.d). ICMP has no ports. */
struct flow {
	__u8 source[16];
	__u8 destination[16];
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol; /* IPPROTO_* of the layer above IP and its extension headers */
	__u8 pad[3];
};

/* One packet's path through this node. */
struct journey {
	__u64 fingerprint; /* what forwarding, NAT and encapsulation leave alone; see fingerprint.bpf.h */
	__u64 outer; /* the outermost IP header's first word at the last tc hook, for the tracepoints; or see FLAG_OTHERHOST */
	struct flow first; /* as the first hook saw it: before NAT */
	struct flow last; /* as the last tc hook saw it: after NAT; of a drop, as it was freed */
	__u64 time_ns[HOPS_MAX];
	__u32 ifindex[HOPS_MAX];
	__u8 hook[HOPS_MAX]; /* enum hook */
	/* A large packet (GSO, GRO) has its headers once, in all but wire_bytes at an egress. */
	__u32 skb_bytes; /* sk_buff length at the first hook, link header included */
	__u32 ip_bytes; /* the innermost IP packet at the first hook, from its IP header on */
	__u32 wire_bytes; /* the packet at the last tc hook; at an egress all headers of each segment are in it */
	__u32 weight; /* packets this one stands for: the inverse of its sampling probability */
	__u16 segments; /* that the packet makes on the wire, at the first hook; see count_segments() */
	__u16 flags; /* enum flag */
	__u8 hops; /* hooks passed; above HOPS_MAX, entries 6 and 7 hold the last two, in turn */
	__u8 split_at; /* hooks passed when the qdisc that took the packet in split it; 0: never */
	__u8 begun_at; /* one more than its index in counters.coverage, while its end is to be counted there; else 0 */
	__u8 pad;
};

/* What each hook needs of a slot. */
struct slot_state {
	__u32 ifindex; /* of the last hook */
	__u8 hook; /* last hook */
	__u8 flags; /* enum flag */
	__u16 fingerprint; /* low bits of the journey's; a difference between the two is a torn slot */
};

/*
 * A bucket without its journeys, in one cache line: a packet that is not sampled touches no other. The tag is the
 * sk_buff's address; 0 is an empty slot. It is cleared before the slot is written and set afterwards.
 */
struct bucket_slots {
	__u64 tag[SLOTS_PER_BUCKET];
	struct slot_state state[SLOTS_PER_BUCKET];
};

struct bucket_journeys {
	struct journey journey[SLOTS_PER_BUCKET];
};

struct record {
	__u32 kind; /* enum record_kind */
	__u32 reason; /* RECORD_DROP: enum skb_drop_reason of the running kernel; 0 where it has none */
	__u64 location; /* RECORD_DROP: instruction address of the caller of kfree_skb */
	__u64 time_ns; /* when the record was made */
	struct journey journey;
};

enum capture {
	CAPTURED_BYTES = 192, /* the longest headers that are usual: IPv6 and TCP with options, in VXLAN on IPv6 */
};

/* The first bytes of a packet that was dropped or slow; see capture.bpf.h. */
struct captured {
	__u64 time_ns; /* of the hook, as the journey has it; of a drop shortly after it */
	__u32 ifindex; /* of that hook; 0 of a drop */
	__u32 length; /* of the packet from its outermost IP header on */
	__u16 size; /* how many of the bytes there are */
	__u8 hook; /* HOOK_FREE: dropped */
	__u8 pad[5];
	__u8 bytes[CAPTURED_BYTES]; /* from that IP header on */
};

/*
 * The state of a TCP connection at one of its ends, which is a pod's of this node or in the traced namespace. Counts are
 * since the record before: if a record finds no room in the ring buffer, the next one includes its counts.
 */
struct tcp_record {
	__u32 kind; /* RECORD_TCP */
	__u32 ifindex; /* of the pod's device in the traced namespace; 0 where this end is in that namespace */
	__u64 time_ns;
	__u64 span_ns; /* since the record before; 0 in a connection's first one */
	__u64 deliver_ns; /* from the pod's device to this end, of the packet that has just come; 0: not known */
	__u64 rwnd_limited_ns; /* time in which nothing but the other end's window kept this one from sending */
	struct flow flow; /* from this end, as its own namespace has it: before NAT */
	__u32 rtt_us; /* of the last segment that was acknowledged since the record before; 0: none was */
	__u32 srtt_us; /* smoothed; the SYN-ACK's, of which there is no rtt_us, in the first record of who accepted */
	__u32 rtt_min_us; /* the kernel's own minimum, of the last five minutes unless a sysctl says otherwise */
	__u32 segments; /* sent with data, retransmissions included */
	__u32 retransmits; /* segments */
	__u32 spurious; /* of those, what the other end said that it had already */
	__u32 delivered; /* segments that were acknowledged */
	__u32 read_bytes; /* by the application */
	__u32 unread_bytes; /* received, and not read yet */
	__u32 receive_window; /* what the other end may still send, in bytes */
	__u32 send_window; /* what this end may have in flight, in bytes */
	__u32 unsent_bytes; /* that the application wrote, and that are not sent yet */
	__u32 congestion_window; /* segments */
	__u32 in_flight; /* segments */
	__u32 mss;
	__u32 acked_bytes; /* since the record before, without a gap */
	__u32 retransmitted_bytes; /* length of the segment that has just been retransmitted; 0: there is none */
	__u8 recovered; /* 1: the last segment that was retransmitted before this record has been acknowledged */
	__u8 repeated; /* 1: the segment that has just been retransmitted is the same as the last time */
	__u8 state; /* TCP_ESTABLISHED and so on, as in include/net/tcp_states.h */
	__u8 pad;
};

/* What became of a request at a pod's device. */
enum request_kind {
	REQUEST_ANSWERED = 1,
	REQUEST_CONNECTED, /* a SYN, by its SYN-ACK */
	REQUEST_GIVEN_UP, /* who asked has closed or reset its connection, or has asked anew */
	REQUEST_CLOSED, /* who was asked has closed or reset it instead of an answer */
};

/* A request that has come to its end; see request.bpf.h. */
struct request_record {
	__u32 kind; /* RECORD_REQUEST */
	__u32 ifindex; /* of the pod's device */
	__u64 time_ns; /* when the first packet of the answer passed, or what else ended it: of one given up the client's FIN, if it has sent one */
	__u64 asked_ns; /* when the last packet of the request did; of a connect the first SYN */
	struct flow flow; /* from the pod, as it passes its device */
	__u32 weight; /* requests this one stands for */
	__u8 what; /* enum request_kind */
	__u8 client; /* 0: the pod asked; 1: the other end did */
	__u8 repeated; /* 1: a packet of the request was sent again */
	__u8 pad;
};

enum watched_state {
	WATCHED_IDLE, /* nothing is asked: not yet, or no longer */
	WATCHED_OPENING, /* a SYN has passed */
	WATCHED_OPENED, /* at the pod that is asked a SYN-ACK has, and nothing yet shows that the client is real */
	WATCHED_ASKED,
	WATCHED_LEFT_OUT, /* it does not alternate, or nobody knows who asks */
};

/* Bits of struct watched.flags. */
enum watched_flag {
	WATCHED_GAP = 1, /* of the request a part is missing, that a later one has overtaken */
	WATCHED_REPEATED = 2, /* a packet of it was sent again */
	WATCHED_FIN_POD = 4,
	WATCHED_FIN_OTHER = 8,
	WATCHED_FINS = WATCHED_FIN_POD | WATCHED_FIN_OTHER,
	WATCHED_MIXED = 16, /* what is asked may be several requests: it is not timed */
	WATCHED_LAST_WORD = 32, /* who asked has closed at once: it may be no request but a farewell */
	WATCHED_ACCEPTED = 64, /* its SYN-ACK has passed */
};

enum request_size {
	/* A request that is shorter is not said to be unanswered, unless it was sent again: protocols' control frames are so short. */
	SMALL_REQUEST = 48,
	/* One that is longer may wait for the window while it is sent. */
	UNPAUSED_REQUEST = 4096,
};

/* A connection whose requests are timed, at one pod's device. Side 0 is the pod, 1 the other end. */
struct watched {
	__u64 asked_ns; /* of the last packet of its latest request, or of its first packet */
	__u64 closed_ns; /* TCP: of the FIN of who asks; of another connection before it unless its flag is set */
	struct flow flow; /* from the pod */
	__u32 next
		[2]; /* by side, TCP: the sequence number behind its payload; UDP: how many datagrams it has sent since the latest request began */
	__u32 ifindex;
	__u32 weight;
	__u32 answers;
	__u8 state; /* enum watched_state */
	__u8 client; /* the side that asks */
	__u8 flags; /* enum watched_flag */
	__u8 overlaps; /* requests that began before the last answer was complete, or the like */
	__u32 began; /* TCP: the sequence number with which the latest request began */
	__u32 connect_ns; /* at the pod that is asked: from the SYN to the SYN-ACK */
};

/* As with the in-flight table, a tag is cleared before its slot is written and set afterwards; 0 is an empty slot. */
struct watched_bucket {
	__u64 tag[SLOTS_PER_BUCKET];
	struct watched slot[SLOTS_PER_BUCKET];
};

/* What user space asks of the program tracer_listener: it stands in the place of a packet, behind an Ethernet header. */
struct listener_query {
	__u8 address[16];
	__be16 port;
	__u8 pad[2];
	__u32 netns; /* id of the network namespace, as the traced namespace has it */
};

/* What the program tracer_listener writes over that: the queues of the socket that listens there. */
struct listener_answer {
	__u32 accept_length, accept_limit; /* sk_ack_backlog, sk_max_ack_backlog */
	__u32 syn_length; /* connections half open */
	__u32 max_syn_backlog; /* net.ipv4.tcp_max_syn_backlog */
	__u8 syncookies; /* net.ipv4.tcp_syncookies */
	__u8 pad[7];
};

/* Written by user space while the programs run. */
struct config {
	__u64 ignored_reasons[4]; /* bit r: a kfree_skb with core reason r (< 256) is no loss and not reported */
	__be16 vxlan_port[TUNNEL_PORTS_MAX]; /* 0: none, and none behind it */
	__be16 geneve_port[TUNNEL_PORTS_MAX];
	__u32 netns; /* inode of the network namespace that is traced */
	__u32 sample_n; /* beyond its flow's quota one packet in so many is sampled; 0 and 1: every packet is */
	__u32 wakeup_bytes; /* wake the reader when the ring holds at least so much */
	__u32 splitting; /* devices whose qdisc splits GSO packets; see segment.bpf.h */
	__u32 flow_quota; /* journeys that a flow may start in an epoch before chance decides; below 65,535 */
	__u32 epoch; /* user space counts it up; the lower half matters, and is never 0 */
	__u64 salt; /* what makes the choice beyond quotas: the same number on all nodes, another every some seconds */
	__u64 ipsec_split[2]; /* the address and the size of the kernel's xfrm_output_gso(); 0: not known */
	/*
	 * A connection is watched if the number that its hash makes of it, below 2^32, is below watch_below when it begins; 0: none
	 * is. Those whose number is not below look_below are not looked for: there are none. A request stands for watch_weight
	 * requests at most: that many connections are there for one that is watched.
	 */
	__u64 watch_below;
	__u64 look_below;
	__u32 watch_weight;
	__u32 unused;
};

/* Bits of struct device.splits: where a qdisc splits GSO packets; see segment.bpf.h. */
enum splits {
	SPLITS = 1, /* the device's own */
	POD_SPLITS = 2, /* the one at the pod's end */
};

/* What the programs need to know of a device. */
struct device {
	__u32 ifindex; /* 0: nobody's entry */
	__u8 ethernet; /* 1: packets have an Ethernet header at tc */
	__u8 splits; /* enum splits */
	__u8 flags; /* FLAG_LEAVES, FLAG_POD, FLAG_TUNNEL */
	__u8 class; /* below CLASSES; CLASS_PORT, CLASS_BEGINS */
};

/* Devices whose index is the same modulo DEVICE_BUCKETS, in the same cache line. */
struct device_bucket {
	struct device device[2];
};

/* A pod's own end of its device, as the programs met it. */
struct pod_end {
	__u64 dequeued_ns; /* when a packet last came out of its qdisc; 0: none did */
	__u32 netns; /* inode of the pod's network namespace */
	__u32 ifindex; /* in there */
	char name[16]; /* likewise */
	char qdisc[16]; /* kind of its root qdisc */
};

/* Per-CPU event counts. The order is the index into struct counters. */
enum counter {
	COUNT_STARTED, /* journeys that began */
	COUNT_UNSAMPLED, /* packets that were not sampled */
	COUNT_FINISHED, /* journeys that reached their last hook */
	COUNT_SPLIT, /* journeys that ended in a software GSO split */
	COUNT_DROPPED, /* drops seen */
	COUNT_TABLE_FULL, /* sampled packets without a slot: all of the bucket were live */
	COUNT_EVICTED_STALE, /* slots that were too old */
	COUNT_EVICTED_MISMATCH, /* slots with another packet's fingerprint */
	COUNT_TORN, /* slots written by two at once */
	COUNT_NO_INGRESS, /* forwarded packets at an egress without a slot */
	COUNT_UNFINISHED_INGRESS, /* journeys without an end, by their last hook: here the node's own sockets */
	COUNT_UNFINISHED_EGRESS,
	COUNT_UNFINISHED_DEQUEUE,
	COUNT_UNFINISHED_XMIT,
	COUNT_MALFORMED, /* truncated or absurd headers */
	COUNT_TOO_DEEP, /* more tunnels in tunnels than are looked into */
	COUNT_REQUEUED, /* packets that a qdisc handed out more than once */
	COUNT_MISSED_JOURNEY, /* records for which the ring had no room, by kind */
	COUNT_MISSED_DROP,
	COUNT_MISSED_SPLIT,
	COUNT_MISSED_TCP,
	COUNT_UNFINISHED_POD_QUEUE, /* as COUNT_UNFINISHED_INGRESS: last seen at the pod's end of its device */
	COUNT_MISSED_REQUEST, /* as COUNT_MISSED_TCP */
	/* Connections of which no request is timed: */
	COUNT_LEFT_OUT_OVERLAP, /* payload goes both ways at once */
	COUNT_LEFT_OUT_UNSEEN, /* one direction passes elsewhere */
	COUNT_LEFT_OUT_UNKNOWN, /* it was open before we were, and nothing tells who asks */
	COUNT_LEFT_OUT_NO_ROOM, /* packets of connections that found no slot */
	COUNT_CLONED, /* packets that were consumed between two devices: a copy may go on */
	COUNT_MAX,
};

/*
 * How much a tc hook saw of the packets that passed its devices, and what became of those that began a journey there. Sums
 * over sampled packets, each times its weight: estimates of all, and exact where every packet is sampled.
 */
struct coverage {
	__u64 packets; /* sk_buffs seen, those that are no IP included */
	__u64 variance; /* of packets */
	/* Of those: [1] of packets that began here to go on: not to the node itself, no fragments; [0] of all others. */
	__u64 segments[2];
	__u64 ended; /* of segments[1], those of packets that came to an end that was seen, be it a drop */
	__u64 merged; /* ... and what GRO has merged into another packet, which goes on for both */
	__u64 pad[2]; /* to a cache line */
};

struct counters {
	__u64 count[COUNT_MAX];
	__u64 pending_weight; /* of packets without a slot: the next journey on this CPU carries it */
	struct coverage coverage[2 * CLASSES]; /* of each class: ingress, egress */
};

_Static_assert(sizeof(struct flow) == 40, "flow");
_Static_assert(sizeof(struct journey) == 224, "journey");
_Static_assert(sizeof(struct slot_state) == 8, "slot_state");
_Static_assert(sizeof(struct bucket_slots) == 64, "bucket_slots");
_Static_assert(sizeof(struct bucket_journeys) == 896, "bucket_journeys");
_Static_assert(sizeof(struct record) == 248, "record");
_Static_assert(sizeof(struct captured) == 216, "captured");
_Static_assert(sizeof(struct tcp_record) == 152, "tcp_record");
_Static_assert(sizeof(struct request_record) == 72, "request_record");
_Static_assert(sizeof(struct watched) == 88, "watched");
_Static_assert(sizeof(struct watched_bucket) == 384, "watched_bucket");
_Static_assert(sizeof(struct listener_query) == 24, "listener_query");
_Static_assert(sizeof(struct listener_answer) == 24, "listener_answer");
_Static_assert(sizeof(struct config) == 136, "config");
_Static_assert(sizeof(struct device_bucket) == 16, "device_bucket");
_Static_assert(sizeof(struct pod_end) == 48, "pod_end");
_Static_assert(sizeof(struct coverage) == 64, "coverage");

#endif
