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
		names = append(names, k.name)
	}
	if want := []string{"5.10", "6.1", "6.12", "7.2"}; !slices.Equal(names, want) {
		t.Errorf("kernels %v, want %v", names, want)
	}
	found, err := findKernels("7.2,6.1")
	if err != nil || len(found) != 2 || found[0].name != "7.2" || found[1].pattern != "linux-image-6.1.0-*-cloud-amd64" ||
		!slices.Equal(found[1].suites, []string{"bookworm", "bookworm-security"}) {
		t.Errorf("7.2 and 6.1 are %+v, %v", found, err)
	}
	if all, err := findKernels("all"); err != nil || len(all) != len(kernels) {
		t.Errorf("all are %+v, %v", all, err)
	}
	if _, err := findKernels("6"); err == nil {
		t.Error("a kernel 6 was found")
	}
	for _, table := range []string{"6.1 bookworm", "6.1 bookworm linux-[image extra", "6.1 bookworm linux-[image"} {
		if k, err := parseKernels(table); err == nil {
			t.Errorf("%q was taken for %+v", table, k)
		}
	}
}
