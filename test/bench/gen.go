package main

// The compiler and its flags are those of internal/bpfobj.
//go:generate go tool bpf2go -cc clang-14 -strip llvm-strip-14 -target bpfel -no-global-types -type hook -type table -type flag -type counter -type counters -type bucket_slots -type slot_state -type bucket_journeys -type config -type scene -type device -type device_bucket -type watched -type watched_bucket -type watched_state -type connection_scene hooks ../../bpf/bench.bpf.c -- -O2 -g -mcpu=v3 -fno-strict-aliasing -Wall -Wextra -Werror -Wno-unused-parameter -ffile-prefix-map=../../bpf=bpf -I../../bpf -idirafter /usr/include/x86_64-linux-gnu -idirafter /usr/include/aarch64-linux-gnu
