package main

import (
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
	leastDisk   = 20_000_000_000
	warmDisk    = 5_000_000_000
)

// host is what preflight looks at.
type host struct {
	arch           string
	root, btf      bool
	memory, disk   uint64 // bytes; of the disk those that are free
	directory      string // on that disk
	kubernetesHere bool
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
	built, _ := filepath.Glob(filepath.Join(cache, "tracer/k8s/kubernetes-*"))
	h.kubernetesHere = len(built) > 0
	// The cache may not be there yet.
	for h.directory = filepath.Join(cache, "tracer"); ; h.directory = filepath.Dir(h.directory) {
		var disk syscall.Statfs_t
		if err := syscall.Statfs(h.directory, &disk); errors.Is(err, os.ErrNotExist) {
			continue
		} else if err != nil {
			return fmt.Errorf("ask how much of the disk is free: %s: %w", h.directory, err)
		}
		h.disk = disk.Bavail * uint64(disk.Bsize)
		break
	}
	return h.lacks(slices.ContainsFunc(chosen, func(p part) bool { return p.after == "kubernetes" || p.name == "kubernetes" }))
}

// lacks says what the machine lacks, and what to do about it.
func (h host) lacks(kubernetes bool) error {
	least := uint64(warmDisk)
	if kubernetes && !h.kubernetesHere {
		least = leastDisk
	}
	switch {
	case !h.root:
		return errors.New("the tests load BPF programs and make network namespaces: run this as root")
	case h.arch != "amd64":
		return fmt.Errorf("guests take programs of this machine, and are amd64: this one is %s; `go test ./...` runs what needs no guest", h.arch)
	case !h.btf:
		return errors.New("this kernel has no BTF (/sys/kernel/btf/vmlinux): run this on a kernel from 5.10 on with CONFIG_DEBUG_INFO_BTF=y, as all distributions have it")
	case h.memory > 0 && h.memory < leastMemory:
		return fmt.Errorf("this machine has %.1f GB of memory, and the tests need 8 GB: give it more", float64(h.memory)/1e9)
	case h.disk < least:
		return fmt.Errorf("%.1f GB are free on the disk of %s, and the tests need %d GB: free some, or put the cache on another disk (XDG_CACHE_HOME, GOCACHE)",
			float64(h.disk)/1e9, h.directory, least/1e9)
	}
	return nil
}
