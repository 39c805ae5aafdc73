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
		{"fails.test", "exit 2"},
	} {
		file := filepath.Join(dir, b.name)
		if err := os.WriteFile(file, []byte("#!/bin/sh\n"+b.script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
		tests = append(tests, binary{file: file, pkg: "example/" + b.name, guestDir: dir})
	}
	script := func(script string) (string, int) {
		cmd := exec.Command("bash", "-c", script)
		out, _ := cmd.Output()
		return string(out), cmd.ProcessState.ExitCode()
	}
	run := func(tests []binary) (string, int) { return script(testJob(tests, "^Test'A$", "B|C", 1, time.Minute)) }
	first := "\x16guest: package example/it's.test\n-test.run=^Test'A$ -test.skip=B|C in " + filepath.Base(dir) + ", CI=true\n\x16guest: status 0\n"
	if out, code := run(tests[:1]); out != first || code != 0 {
		t.Errorf("got %q, exit %d, want %q, exit 0", out, code, first)
	}
	if out, code := run(tests); out != first+"\x16guest: package example/fails.test\n\x16guest: status 2\n" || code != 1 {
		t.Errorf("got %q, exit %d, want exit 1", out, code)
	}
	again := "\x16guest: package example/it's.test\n-test.run=^TestA$/^b\\.c$ -test.skip= in " + filepath.Base(dir) + ", CI=true\n\x16guest: status 0\n"
	if out, code := script(retryJob(tests, []string{"example/it's.test.TestA/b.c"}, time.Minute)); out != again || code != 0 {
		t.Errorf("got %q, exit %d, want %q, exit 0", out, code, again)
	}
}
