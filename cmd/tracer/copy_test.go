package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

func TestCopy(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program, target := filepath.Join(dir, "program"), filepath.Join(dir, "tracer")
	for _, content := range []string{"first", "second"} {
		if err := os.WriteFile(program, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := copyProgram(program, target); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(target)
		info, statErr := os.Stat(target)
		if err != nil || statErr != nil || !bytes.Equal(got, []byte(content)) || info.Mode().Perm() != 0o755 {
			t.Errorf("%q, %v, %v, %v", got, info.Mode(), err, statErr)
		}
	}
	if err := copyProgram(program, filepath.Join(dir, "no", "tracer")); err == nil {
		t.Error("copied into a directory that is not there")
	}
	if entries, _ := os.ReadDir(dir); len(entries) != 2 {
		t.Errorf("left behind: %v", entries)
	}
}
