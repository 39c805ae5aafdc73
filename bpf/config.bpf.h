/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/* What user space writes while the programs run: the configuration, and the maps that say what a program cannot see. */
#ifndef TRACER_CONFIG_BPF_H
#define TRACER_CONFIG_BPF_H

#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "record.h"

/* Apart from the other variables, which are large: user space maps it for good. */
volatile struct config settings SEC(".data.settings");

/* Addresses of the traced namespace itself: packets to them end in its own sockets. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u8[16]);
	__type(value, __u8);
} tracer_node_ips SEC(".maps");

/*
 * The same addresses, and those that stand for the node's own sockets by NAT, as bits at their hashes: a look-up in the map
 * would cost as much as the rest of a first hook. What shares a hash with one of them is not counted as begun.
 */
__u64 own_addresses[OWN_ADDRESS_BITS / 64] SEC(".data.own");

/* This node's pods by address, with the index of their device on this side. A full map leaves some out. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u8[16]);
	__type(value, __u32);
} tracer_pod_ips SEC(".maps");

/* The traced devices by their index: a variable, at an address that programs know, since each tc hook looks here. */
struct device_bucket devices[DEVICE_BUCKETS] SEC(".data.devices");

/* NULL: the device is not traced. */
static __always_inline const struct device *find_device(__u32 ifindex)
{
	const struct device_bucket *d = &devices[ifindex & (DEVICE_BUCKETS - 1)];

	if (d->device[0].ifindex == ifindex)
		return &d->device[0];
	return d->device[1].ifindex == ifindex ? &d->device[1] : NULL;
}

/* All of a device but its index in one number, as they lie: ethernet, splits, flags, class. */
static __always_inline __u32 traits_of(const struct device *device)
{
	__u32 traits = *(const __u32 *)&device->ethernet;

	_Static_assert(offsetof(struct device, class) == offsetof(struct device, ethernet) + 3, "one word");
	barrier_var(traits);
	return traits;
}

#endif
