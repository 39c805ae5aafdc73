package main

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPruneModules(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	files := map[string]bool{ // whether they stay
		"net/sched/sch_netem.ko": true, "drivers/net/veth.ko": true, "crypto/aes.ko": true,
		"drivers/net/ethernet/intel/e1000.ko": false, "drivers/block/loop.ko": false, "fs/ext4/ext4.ko": false,
	}
	for name := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := pruneModules(dir); err != nil {
		t.Fatal(err)
	}
	for name, stays := range files {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != stays {
			t.Errorf("%s: %v, should it stay: %v", name, err, stays)
		}
	}
	if err := pruneModules(t.TempDir()); err == nil {
		t.Error("a kernel without modules was taken")
	}
}
