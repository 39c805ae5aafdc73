/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* Which network namespace a device belongs to. */
#ifndef TRACER_NETNS_BPF_H
#define TRACER_NETNS_BPF_H

#include <stdbool.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

#include "config.bpf.h"
#include "kernel.h"

/*
 * Whether a device is in the traced namespace. A tracepoint asks this first: packets of all namespaces come by, pods' own
 * among them, and a slot may be in no cache yet, unlike what the stack has just read of the device.
 */
static __always_inline bool in_netns(const struct net_device *dev)
{
	return dev->nd_net.net->ns.inum == settings.netns;
}

/*
 * The same for a pointer that may not be a device: sockets and some qdiscs keep other things in skb->dev, and then this
 * reads nothing that matches. A helper reads, since a program with functions of its own must not fault on older kernels;
 * see tracer.bpf.c.
 */
static __always_inline bool may_be_in_netns(const struct net_device *dev)
{
	return BPF_CORE_READ(dev, nd_net.net, ns.inum) == settings.netns;
}

#endif
