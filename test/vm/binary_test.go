package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestTestJob runs the job here, with scripts for test binaries.
func TestTestJob(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	var tests []binary
	for _, b := range []struct{ name, script string }{
		{"it's.test", `echo "$4 $5 in $(basename "$PWD"), CI=$CI"`},
		{"ends.test", "exit 2"},
		{"fails.test", "exit 1"},
	} {
		file := filepath.Join(dir, b.name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+b.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		tests = append(tests, binary{file: file, pkg: "example/" + b.name, guestDir: dir})
	}
	run := func(tests []binary) (string, int) {
		cmd := exec.Command("bash", "-c", testJob(tests, "^Test'A$", "B|C", 1, time.Minute))
		out, _ := cmd.Output()
		return string(out), cmd.ProcessState.ExitCode()
	}
	first := "\x16guest: package example/it's.test\n-test.run=^Test'A$ -test.skip=B|C in " + filepath.Base(dir) + ", CI=true\n"
	if out, code := run(tests[:1]); out != first || code != 0 {
		t.Errorf("got %q, exit %d, want %q, exit 0", out, code, first)
	}
	if out, code := run(tests); out != first+"\x16guest: package example/ends.test\n\x16guest: package example/fails.test\n" || code != 2 {
		t.Errorf("got %q, exit %d, want exit 2", out, code)
	}
}
