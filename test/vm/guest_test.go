package main

import (
	"slices"
	"testing"
)

func TestParseLdd(t *testing.T) {
	t.Parallel()
	const out = `	linux-vdso.so.1 (0x00007ffd3d5f2000)
	libmnl.so.0 => /lib/x86_64-linux-gnu/libmnl.so.0 (0x00007f1e2c3d4000)
	libgone.so.1 => not found
	/lib64/ld-linux-x86-64.so.2 (0x00007f1e2c500000)
`
	want := []string{"/lib/x86_64-linux-gnu/libmnl.so.0", "/lib64/ld-linux-x86-64.so.2"}
	if got := parseLdd(out); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
