// Package bpfobj holds the compiled BPF programs and the Go types that bpf2go makes from bpf/record.h. Only
// internal/loader uses it.
package bpfobj

// The object serves every little-endian machine: the programs touch no registers.
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type hook -type hops -type table -type record_kind -type flag -type flow -type journey -type slot_state -type bucket_slots -type bucket_journeys -type record -type captured -type tcp_record -type listener_query -type listener_answer -type device -type device_bucket -type pod_end -type splits -type config -type counter -type counters -type coverage -type request_record -type request_kind -type watched -type watched_bucket -type watched_state -type watched_flag -type request_size Tracer ../../bpf/tracer.bpf.c -- -O2 -g -mcpu=v3 -fno-strict-aliasing -Wall -Wextra -Werror -Wno-unused-parameter -ffile-prefix-map=../../bpf=bpf -I../../bpf -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
