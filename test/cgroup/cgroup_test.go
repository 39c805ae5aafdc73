package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestSweep removes what one run has left, and no other's.
func TestSweep(t *testing.T) {
	t.Setenv(Run, "sweep")
	parent := filepath.Dir(New(t, Limits{CPU: 1}).dirs[0])
	leave := func(run string) string {
		dir, err := os.MkdirTemp(parent, nameOf(run))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.Remove(dir) }) // or it is gone, as it should
		return dir
	}
	mine, others := leave("sweep1"), leave("sweep11")
	if err := Sweep("sweep1"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(mine); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s is left: %v", mine, err)
	}
	if _, err := os.Stat(others); err != nil {
		t.Error(err)
	}
}
