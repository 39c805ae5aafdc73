package k8srig

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestCache keeps what was used of late, and no other module's whose name begins alike.
func TestCache(t *testing.T) {
	dir := t.TempDir()
	before := time.Now().Add(-kept - time.Hour)
	for _, name := range []string{"flannel-0000000000000001", "flannel-0000000000000002", "flannel-plugin-0000000000000003"} {
		name = filepath.Join(dir, name)
		if err := os.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(name, before, before); err != nil {
			t.Fatal(err)
		}
	}
	if !used(filepath.Join(dir, "flannel-0000000000000002")) || used(filepath.Join(dir, "flannel-0000000000000004")) {
		t.Error("what is there was not found, or what is not was")
	}
	if err := prune(filepath.Join(dir, "flannel-????????????????")); err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(left) != 2 || filepath.Base(left[0]) != "flannel-0000000000000002" {
		t.Errorf("left are %v, %v", left, err)
	}
}
