/* SPDX-License-Identifier: (GPL-2.0-only OR Apache-2.0) */
/*
 * What is written for the verifier alone. libbpf has barrier(), across which the compiler moves no memory access, and
 * barrier_var(), behind which it knows nothing of a variable's value.
 */
#ifndef TRACER_VERIFIER_BPF_H
#define TRACER_VERIFIER_BPF_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#include "config.bpf.h"

/* Makes clang keep what a pointer points to in memory, and not in registers. */
static __always_inline void barrier_data(const void *data)
{
	asm volatile("" : : "r"(data) : "memory");
}

/*
 * An index below a power of two. clang may compare one register and use its copy, to which older verifiers do not carry
 * the bound; or it may read the index back from the stack, of which they have forgotten it. Hence a mask that clang, which
 * knows the bound, would leave out.
 */
static __always_inline __u64 masked_index(__u64 index, __u64 size)
{
	barrier_var(index);
	return index & (size - 1);
}

/*
 * Makes a number unknown to the verifier, by another of which it knows nothing: otherwise it walks through what comes after
 * once for each value that the number can have.
 */
static __always_inline __u32 make_unknown_by(__u32 number, __u32 unknown)
{
	asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+r"(number) : "r"(unknown));
	return number;
}

/* The same of a number of eight bytes. */
static __always_inline __u64 make_long_unknown_by(__u64 number, __u64 unknown)
{
	asm volatile("%0 ^= %1\n\t%0 ^= %1" : "+r"(number) : "r"(unknown));
	return number;
}

/* The time, unless it was read before: now. As above, unknown is any number. */
static __always_inline __u64 read_clock(__u64 now, __u64 unknown)
{
	if (!now)
		now = bpf_ktime_get_ns();
	return make_long_unknown_by(now, unknown);
}

#endif
