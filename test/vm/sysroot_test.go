package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestAddProgram takes a program of this machine with all that it needs to run.
func TestAddProgram(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	a := newArchive(&b)
	here := sysroot("/")
	shell, err := here.find("bash")
	if err != nil {
		t.Fatal(err)
	}
	if err := here.addProgram(a, shell); err != nil {
		t.Fatal(err)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	entries := strings.Join(unpack(t, b.Bytes()), "\n")
	for _, want := range []string{"bin/bash", "/libc.so.6", "/libtinfo.so", "/ld-linux"} {
		if !strings.Contains(entries, want) {
			t.Errorf("nothing is called %s", want)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	s := sysroot(t.TempDir())
	if err := os.MkdirAll(s.path("usr/bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(s.path("usr/bin/nft-multi"), nil, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"bin": "usr/bin", "usr/bin/nft": "nft-multi", "usr/bin/out": "/etc/passwd"} {
		if err := os.Symlink(target, s.path(name)); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := s.resolve("/bin/nft"); got != "/usr/bin/nft-multi" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := s.resolve("/bin/out"); err == nil {
		t.Errorf("a file of this machine was taken: %q", got)
	}
	if file, err := s.first("nft", "/sbin", "/bin"); file != "/bin/nft" || err != nil {
		t.Errorf("%q, %v", file, err)
	}
	if _, err := s.find("tc"); err == nil {
		t.Error("what is not there was found")
	}
}

// TestKeep makes a directory once, nothing of one that failed, and goes on with what that had fetched.
func TestKeep(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "cache/6.1")
	made := 0
	fill := func(work, done string) error {
		made++
		if text, err := os.ReadFile(filepath.Join(work, "fetched")); err != nil || string(text) != "half" {
			t.Errorf("of the run before there is %q: %v", text, err)
		}
		return os.Mkdir(done, 0o755)
	}
	interrupted := func(work, done string) error {
		return errors.Join(os.ErrPermission, os.WriteFile(filepath.Join(work, "fetched"), []byte("half"), 0o600), os.Mkdir(done, 0o755))
	}
	if err := keep(t.Context(), dir, interrupted); !errors.Is(err, os.ErrPermission) {
		t.Errorf("a failure was told as %v", err)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it failed, and %s is there: %v", dir, err)
	}
	for range 2 {
		if err := keep(t.Context(), dir, fill); err != nil {
			t.Fatal(err)
		}
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() || made != 1 {
		t.Errorf("made %d times: %v", made, err)
	}
	if left, err := filepath.Glob(dir + "*part"); err != nil || left != nil {
		t.Errorf("left: %v, %v", left, err)
	}
}

// TestKeepInterrupted ends while another makes the directory.
func TestKeepInterrupted(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "6.1")
	unlock, err := lock(t.Context(), dir+".lock")
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, interrupt := context.WithCancel(t.Context())
	interrupt()
	err = keep(ctx, dir, func(string, string) error {
		t.Error("two make it at once")
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("interrupted: %v", err)
	}
}
