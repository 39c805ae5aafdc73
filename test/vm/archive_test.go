package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// unpack reads an archive as the kernel does: it needs each directory before what is in it, and each header and each
// content at a multiple of four bytes.
func unpack(t *testing.T, raw []byte) (entries []string) {
	t.Helper()
	directories := map[string]bool{".": true}
	for at := 0; ; {
		if string(raw[at:at+6]) != "070701" {
			t.Fatalf("no header at %d: %q", at, raw[at:at+6])
		}
		field := func(i int) int {
			n, err := strconv.ParseUint(string(raw[at+6+8*i:at+14+8*i]), 16, 32)
			if err != nil {
				t.Fatal(err)
			}
			return int(n)
		}
		align := func(n int) int { return (n + 3) &^ 3 }
		mode, size, nameSize := field(1), field(6), field(11)
		name := string(raw[at+110 : at+110+nameSize-1])
		begin := at + align(110+nameSize)
		if name == "TRAILER!!!" {
			return entries
		}
		if !directories[filepath.Dir(name)] {
			t.Errorf("%s comes before its directory", name)
		}
		directories[name] = mode&0o170000 == cpioDirectory
		entries = append(entries, fmt.Sprintf("%s %o %q", name, mode, raw[begin:begin+size]))
		at = begin + align(size)
	}
}

func TestArchive(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub/five"), []byte("12345"), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("sub/five", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	a := newArchive(&b)
	a.text("/init", 0o755, "#!/bin/sh\n")
	a.symlink("/usr/bin/sh", "bash")
	if err := a.tree("/data", dir); err != nil {
		t.Fatal(err)
	}
	a.text("/init", 0o644, "what is there stays")
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	want := []string{
		`init 100755 "#!/bin/sh\n"`, `usr 40755 ""`, `usr/bin 40755 ""`, `usr/bin/sh 120777 "bash"`,
		`data 40755 ""`, `data/link 100750 "12345"`, `data/sub 40755 ""`, `data/sub/five 100750 "12345"`,
	}
	if got := unpack(t, b.Bytes()); !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}
