package main

import (
	"strings"
	"testing"
)

func TestLacks(t *testing.T) {
	t.Parallel()
	good := host{arch: "amd64", root: true, btf: true, memory: 8e9, disk: 30e9, directory: "/root"}
	if err := good.lacks(true); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(*host){
		"root":         func(h *host) { h.root = false },
		"arm64":        func(h *host) { h.arch = "arm64" },
		"BTF":          func(h *host) { h.btf = false },
		"4.0 GB of":    func(h *host) { h.memory = 4e9 },
		"10.0 GB are":  func(h *host) { h.disk = 10e9 },
		"1.0 GB are":   func(h *host) { h.disk, h.kubernetesHere = 1e9, true },
		"tests need 5": func(h *host) { h.disk, h.kubernetesHere = 1e9, true },
	} {
		h := good
		change(&h)
		if err := h.lacks(true); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want it to tell of %q", err, want)
		}
	}
	good.disk = 10e9
	if err := good.lacks(false); err != nil {
		t.Errorf("without Kubernetes: %v", err)
	}
}
