package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func TestResults(t *testing.T) {
	t.Parallel()
	const (
		begin = "\x16guest: package tracer/internal/lab\r\n\x16=== RUN   TestA\n"
		pass  = "no end of line\x16--- PASS: TestA (0.01s)\n"
		fail  = "\x16=== NAME  TestB/one\n    a_test.go:1: --- PASS: not a result (1s)\n\x16--- FAIL: TestB/one (0.01s)\n"
		whole = "\x16--- FAIL: TestB (0.01s)\n"
		skip  = "\x16--- SKIP: TestC (0.00s)\n"
	)
	for name, test := range map[string]struct {
		out             string
		passed          int
		failed, skipped []string
		unproven        []string
		exit            int
		err             string
		output          string
	}{
		"success": {out: begin + pass + "\x16guest: exit 0\n", passed: 1},
		"a failure": {out: begin + pass + fail + "\x16guest: exit 1\n", passed: 1, failed: []string{"tracer/internal/lab.TestB/one"}, unproven: []string{"TestB"}, exit: 1, err: "1 tests failed: tracer/internal/lab.TestB/one",
			output: "tracer/internal/lab.TestB/one:\n    a_test.go:1: --- PASS: not a result (1s)\n"},
		"a whole test": {out: begin + fail + whole + skip + "\x16guest: exit 1\n", failed: []string{"tracer/internal/lab.TestB/one", "tracer/internal/lab.TestB"},
			skipped: []string{"tracer/internal/lab.TestC"}, unproven: []string{"TestB", "TestC"}, exit: 1, err: "2 tests failed",
			output: "tracer/internal/lab.TestB/one:\n    a_test.go:1: --- PASS: not a result (1s)\n"},
		"a skip":     {out: begin + pass + skip + "\x16guest: exit 0\n", passed: 1, skipped: []string{"tracer/internal/lab.TestC"}, unproven: []string{"TestC"}, err: "1 tests were skipped"},
		"a command":  {out: "hello\n\x16guest: exit 3\n", exit: 3, err: "exit status 3"},
		"too long":   {out: begin + pass + "\x16guest: exit 143\n", passed: 1, exit: 143, err: "the job was not done within its time"},
		"a panic":    {out: begin + pass, passed: 1, err: "the guest stopped before its job ended"},
		"half a job": {out: begin + "\x16guest: ex", err: "the guest stopped before its job ended"},
	} {
		var r results
		var printed strings.Builder
		if err := r.read(strings.NewReader(test.out), &printed); err != nil {
			t.Fatal(err)
		}
		if len(r.passed) != test.passed || !slices.Equal(r.failed, test.failed) || !slices.Equal(r.skipped, test.skipped) ||
			!slices.Equal(r.unproven, test.unproven) || r.exit != test.exit {
			t.Errorf("%s: %+v, want %+v", name, r, test)
		}
		if got := r.output(); got != test.output {
			t.Errorf("%s: output of failed tests %q, want %q", name, got, test.output)
		}
		if err := r.err(); (err == nil) != (test.err == "") || (err != nil && !strings.HasPrefix(err.Error(), test.err)) {
			t.Errorf("%s: error %v, want %q", name, err, test.err)
		}
		if strings.Contains(printed.String(), marker) || strings.Contains(printed.String(), "guest: exit") {
			t.Errorf("%s: printed %q", name, printed.String())
		}
	}
}

func TestResultsOfBrokenPipe(t *testing.T) {
	t.Parallel()
	out := io.MultiReader(strings.NewReader("x"), iotest.ErrReader(io.ErrUnexpectedEOF))
	if err := new(results).read(out, io.Discard); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("got %v, want that reading broke off", err)
	}
}

func TestComplaints(t *testing.T) {
	t.Parallel()
	if err := complaints("[    1.0] Warning: unable to open an initial console.\n[    2.0] all is well\n"); err != nil {
		t.Errorf("no complaint was taken for one: %v", err)
	}
	const emulator = "[  137.9] WARNING: CPU: 0 PID: 382 at arch/x86/kernel/traps.c:1120 exc_debug_kernel+0xca/0x160\n"
	const oops = "[  137.9] BUG: kernel NULL pointer dereference, address: 0000000000000038\n"
	if err := complaints("[    1.0] fine\n" + emulator + oops); !errors.Is(err, errEmulator) || errors.Is(err, errComplaint) {
		t.Errorf("a fault of the emulator: %v", err)
	}
	const fault, wrong, right = "[  152.6] Oops: double fault: 0000 [#1]\n", "[  152.6] RSP: 0018:ffffcf4f8057fc00 EFLAGS: 3cc36f42\n", "[  152.6] RSP: 0018:ffffcf4f8057fc00 EFLAGS: 00010246\n"
	if err := complaints(fault + wrong); !errors.Is(err, errEmulator) {
		t.Errorf("flags that no CPU has: %v", err)
	}
	if err := complaints(fault + right + wrong); !errors.Is(err, errComplaint) || errors.Is(err, errEmulator) {
		t.Errorf("an oops: %v", err)
	}
	if err := complaints(oops + emulator); !errors.Is(err, errComplaint) || errors.Is(err, errEmulator) {
		t.Errorf("a fault of the kernel, and what came of it: %v", err)
	}
	err := complaints("[    1.0] fine\n[    2.0] WARNING: CPU: 1 PID: 80 at net/core/dev.c:1\n")
	if err == nil || !strings.Contains(err.Error(), "net/core/dev.c:1") {
		t.Errorf("got %v, want the warning", err)
	}
}
