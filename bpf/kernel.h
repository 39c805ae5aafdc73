/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The kernel's own types, reduced to the fields that are read. CO-RE finds their offsets in the running kernel,
 * inside whatever anonymous unions it keeps them.
 */
#ifndef TRACER_KERNEL_H
#define TRACER_KERNEL_H

#include <linux/in6.h>
#include <linux/types.h>
#include <bpf/bpf_endian.h>

/* Constants that no uapi header has, or one that cannot be included here, by the kernel's names. */
enum {
	AF_INET = 2, /* include/linux/socket.h */
	AF_INET6 = 10,
	IP_OFFSET = 0x1fff, /* include/net/ip.h */
	IP_MF = 0x2000,
	NETDEV_ALIGN = 32, /* include/linux/netdevice.h */
	SKB_DST_NOREF = 1, /* include/linux/skbuff.h */
	SKB_GSO_TCP_FIXEDID = 1 << 3,
	TCP_CHRONO_RWND_LIMITED = 2, /* include/linux/tcp.h */
	TCP_LISTEN = 10, /* include/net/tcp_states.h */
	VLAN_HLEN = 4, /* include/linux/if_vlan.h */
	RTN_LOCAL = 2, /* include/uapi/linux/rtnetlink.h */
};

/* include/uapi/linux/if_tunnel.h, which needs a C library */
#define GRE_CSUM bpf_htons(0x8000)
#define GRE_KEY bpf_htons(0x2000)
#define GRE_SEQ bpf_htons(0x1000)

#define IPV6_FLOWLABEL_MASK 0x000fffff /* include/net/ipv6.h, here in the machine's order */
#define VXLAN_HF_VNI 0x08 /* include/net/vxlan.h, here of the first byte */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct netns_ipv4 {
	unsigned char sysctl_tcp_syncookies; /* an int before 5.13, of which this is the low byte */
	int sysctl_max_syn_backlog;
};

struct net {
	struct ns_common ns;
	struct netns_ipv4 ipv4;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct rtnl_link_ops {
	const char *kind;
};

struct Qdisc_ops {
	char id[16];
};

struct Qdisc {
	const void *enqueue; /* a function; NULL only where nothing is queued */
	const struct Qdisc_ops *ops;
};

struct net_device {
	char name[16];
	unsigned long state;
	unsigned int ifindex; /* int in the kernel; never negative */
	const struct rtnl_link_ops *rtnl_link_ops;
	possible_net_t nd_net;
	struct Qdisc *qdisc;
};

struct netdev_queue {
	struct net_device *dev;
};

struct sk_buff {
	struct sk_buff *next;
	struct net_device *dev;
	unsigned long _skb_refdst;
	unsigned int len;
	unsigned int data_len;
	__u8 pkt_type : 3;
	__be16 protocol;
	__u16 transport_header;
	__u16 network_header;
	__u16 mac_header;
	unsigned int end; /* sk_buff_data_t: an offset from head on 64-bit machines */
	unsigned char *head;
	unsigned char *data;
	char cb[48];
};

struct tcp_skb_cb {
	__u32 seq;
	__u32 ack_seq;
};

struct skb_shared_info {
	unsigned short gso_size;
	unsigned short gso_segs;
	unsigned int gso_type;
};

struct sock_common {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	possible_net_t skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
};

struct dst_entry {
	struct net_device *dev;
};

struct sock {
	struct sock_common __sk_common;
	struct dst_entry *sk_dst_cache;
	struct socket *sk_socket;
	__u32 sk_ack_backlog;
	__u32 sk_max_ack_backlog;
};

typedef struct {
	int counter;
} atomic_t;

struct request_sock_queue {
	atomic_t qlen;
};

struct inet_connection_sock {
	struct request_sock_queue icsk_accept_queue;
};

struct tcp_rack {
	__u32 rtt_us;
};

struct minmax_sample {
	__u32 v;
};

struct minmax {
	struct minmax_sample s[3];
};

struct tcp_sock {
	__u32 srtt_us;
	struct minmax rtt_min;
	struct tcp_rack rack;
	__u32 segs_in;
	__u32 data_segs_out;
	__u32 total_retrans;
	__u32 dsack_dups;
	__u32 delivered;
	__u32 snd_wnd;
	__u32 snd_cwnd;
	__u32 snd_nxt;
	__u32 snd_una;
	__u64 bytes_acked;
	__u32 write_seq;
	__u32 packets_out;
	__u32 mss_cache;
	__u32 rcv_nxt;
	__u32 rcv_wup;
	__u32 rcv_wnd;
	__u32 copied_seq;
	__u8 chrono_type : 2;
	__u32 chrono_start;
	__u32 chrono_stat[3];
};

struct rtable {
	__u16 rt_type;
};

struct rt6_info {
	unsigned int rt6i_flags;
};

enum skb_drop_reason {
	SKB_DROP_REASON_NOT_SPECIFIED, /* another number in each kernel */
};

#pragma clang attribute pop

#endif
