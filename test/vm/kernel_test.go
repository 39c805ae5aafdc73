package main

import (
	"slices"
	"testing"
)

func TestKernels(t *testing.T) {
	t.Parallel()
	kernels, err := parseKernels(kernelTable)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range kernels {
		names = append(names, k.id())
	}
	if want := []string{"5.10", "6.1", "6.12", "7.2", "5.10-arm64", "6.1-arm64", "6.12-arm64", "6.12-16k-arm64"}; !slices.Equal(names, want) {
		t.Errorf("kernels %v, want %v", names, want)
	}
	found, err := findKernels("amd64", "7.2,6.1")
	if err != nil || len(found) != 2 || found[0].name != "7.2" || found[1].pattern != "linux-image-6.1.0-*-cloud-amd64" ||
		!slices.Equal(found[1].suites, []string{"bookworm", "bookworm-security"}) {
		t.Errorf("7.2 and 6.1 are %+v, %v", found, err)
	}
	for _, arch := range []string{"amd64", "arm64"} {
		if all, err := findKernels(arch, "all"); err != nil || len(all) != 4 || boards[arch].qemu == "" {
			t.Errorf("all for %s are %+v, %v", arch, all, err)
		}
	}
	if _, err := findKernels("riscv64", "all"); err == nil {
		t.Error("kernels for riscv64 were found")
	}
	if _, err := findKernels("amd64", "6"); err == nil {
		t.Error("a kernel 6 was found")
	}
	for _, table := range []string{"amd64 6.1 bookworm", "amd64 6.1 bookworm linux-image later", "amd64 6.1 bookworm linux-[image boot"} {
		if k, err := parseKernels(table); err == nil {
			t.Errorf("%q was taken for %+v", table, k)
		}
	}
}
