/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * The kernel's own types, reduced to the fields that are read. CO-RE finds their offsets in the running kernel,
 * inside whatever anonymous unions it keeps them.
 */
#ifndef TRACER_KERNEL_H
#define TRACER_KERNEL_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct ns_common {
	unsigned int inum;
};

struct net {
	struct ns_common ns;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct net_device {
	unsigned int ifindex; /* int in the kernel; never negative */
	possible_net_t nd_net;
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
	__be16 protocol;
	__u16 network_header;
	unsigned int end; /* sk_buff_data_t: an offset from head on 64-bit machines */
	unsigned char *head;
	unsigned char *data;
};

struct skb_shared_info {
	unsigned short gso_size;
	unsigned short gso_segs;
	unsigned int gso_type;
};

struct rtable {
	__u16 rt_type;
};

struct rt6_info {
	unsigned int rt6i_flags;
};

struct Qdisc;

#pragma clang attribute pop

#endif
