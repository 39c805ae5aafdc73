package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestLacks(t *testing.T) {
	t.Parallel()
	of := func(free uint64) []disk { return []disk{{"/root", 30e9}, {"/cache", free}} }
	good := host{arch: "amd64", root: true, btf: true, memory: 8e9, caches: of(30e9), checkout: disk{".", 6e9}}
	if err := good.lacks(true); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*host){
		"root":            func(h *host) { h.root = false },
		"arm64":           func(h *host) { h.arch = "arm64" },
		"BTF":             func(h *host) { h.btf = false },
		"4.0 GB of":       func(h *host) { h.memory = 4e9 },
		"15.0 GB are":     func(h *host) { h.caches = of(15e9) },
		"of /cache":       func(h *host) { h.caches = of(15e9) },
		"tests need 20":   func(h *host) { h.caches, h.kernels = of(15e9), true },
		"need 12 GB":      func(h *host) { h.caches, h.kubernetes = of(6e9), true },
		"need 5 GB":       func(h *host) { h.caches, h.kubernetes, h.kernels = of(1e9), true, true },
		"of this checkou": func(h *host) { h.checkout.free = 1e9 },
	} {
		h := good
		change(&h)
		if err := h.lacks(true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to tell of %q", err, want)
		}
	}
	good.caches = of(15e9)
	if err := good.lacks(false); err != nil {
		t.Errorf("without Kubernetes: %v", err)
	}
}

// TestDiskOf finds the disk of a directory that is not there yet.
func TestDiskOf(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	got, err := diskOf(filepath.Join(dir, "not/there"))
	if err != nil || got.directory != dir || got.free == 0 {
		t.Errorf("%+v, %v", got, err)
	}
}
