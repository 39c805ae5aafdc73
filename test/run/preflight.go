package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
)

// What a machine must have. Memory is what the kernel leaves of 8 GB. What the caches hold already, the disk need not.
const (
	leastMemory = 7_500_000_000
	coldMore    = 20_000_000_000 // with Kubernetes
	coldHere    = 12_000_000_000
	warmDisk    = 5_000_000_000
)

// host is what preflight looks at.
type host struct {
	arch      string
	root, btf bool
	memory    uint64 // bytes
	// Whether the cache has them.
	kernels, kubernetes bool
	caches              []disk
	checkout            disk
}

// disk is one with a directory on it.
type disk struct {
	directory string
	free      uint64 // bytes
}

// preflight says at once what would fail later.
func preflight(chosen []part) error {
	h := host{arch: runtime.GOARCH, root: os.Geteuid() == 0, memory: memory()}
	_, err := os.Stat("/sys/kernel/btf/vmlinux")
	h.btf = err == nil
	cache, err := os.UserCacheDir()
	if err != nil {
		return err
	}
	cached := func(pattern string) bool {
		found, _ := filepath.Glob(filepath.Join(cache, "tracer", pattern))
		return len(found) > 0
	}
	h.kernels, h.kubernetes = cached("kernels/*/vmlinuz"), cached("k8s/kubernetes-*[0-9a-f]") // and none that is half built: .new
	for _, dir := range []string{filepath.Join(cache, "tracer"), cmp.Or(os.Getenv("GOCACHE"), filepath.Join(cache, "go-build"))} {
		d, err := diskOf(dir)
		if err != nil {
			return err
		}
		h.caches = append(h.caches, d)
	}
	if h.checkout, err = diskOf("."); err != nil {
		return err
	}
	return h.lacks(slices.ContainsFunc(chosen, func(p part) bool { return p.after == "kubernetes" || p.name == "kubernetes" }))
}

// diskOf is the disk that a directory is on, or will be.
func diskOf(directory string) (disk, error) {
	var of syscall.Statfs_t
	err := syscall.Statfs(directory, &of)
	if errors.Is(err, os.ErrNotExist) {
		return diskOf(filepath.Dir(directory))
	}
	if err != nil {
		return disk{}, fmt.Errorf("ask how much of the disk is free: %s: %w", directory, err)
	}
	return disk{directory, of.Bavail * uint64(of.Bsize)}, nil
}

// lacks says what the machine lacks, and what to do about it.
func (h host) lacks(kubernetes bool) error {
	switch {
	case !h.root:
		return errors.New("the tests load BPF programs and make network namespaces: run this as root")
	case h.arch != "amd64":
		return fmt.Errorf("guests take programs of this machine, and are amd64: this one is %s; `go test ./...` runs what needs no guest", h.arch)
	case !h.btf:
		return errors.New("this kernel has no BTF (/sys/kernel/btf/vmlinux): run this on a kernel from 5.10 on with CONFIG_DEBUG_INFO_BTF=y, as all distributions have it")
	case h.memory > 0 && h.memory < leastMemory:
		return fmt.Errorf("this machine has %.1f GB of memory, and the tests need 8 GB: give it more", float64(h.memory)/1e9)
	}
	least := uint64(warmDisk)
	switch {
	case kubernetes && !h.kubernetes:
		least = coldMore
	case !h.kernels:
		least = coldHere
	}
	for _, d := range h.caches {
		if d.free < least {
			return fmt.Errorf("%.1f GB are free on the disk of %s, and the tests need %d GB: free some, or put the cache on another disk (XDG_CACHE_HOME, GOCACHE)",
				float64(d.free)/1e9, d.directory, least/1e9)
		}
	}
	if d := h.checkout; d.free < warmDisk {
		return fmt.Errorf("%.1f GB are free on the disk of this checkout, and the tests need %d GB there: free some", float64(d.free)/1e9, uint64(warmDisk)/1e9)
	}
	return nil
}
