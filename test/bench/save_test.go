package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDocument(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(page, []byte("# Cost\n\nHow.\n\n## The last run\n\nold\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := report{Machine: machine{CPU: "a CPU"}}
	for range 2 { // the second time in place of the first
		if err := r.document(page); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	if s := string(text); !strings.HasPrefix(s, "# Cost\n\nHow.\n\n## The last run\n\n```\na CPU (") || !strings.HasSuffix(s, "\n```\n") ||
		strings.Contains(s, "old") || strings.Count(s, "a CPU") != 1 {
		t.Errorf("%s", s)
	}
	if err := os.WriteFile(page, []byte("# Another page\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.document(page); err == nil {
		t.Error("a page without that heading was written to")
	}
}
