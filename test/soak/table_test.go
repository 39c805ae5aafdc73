package main

import (
	"strings"
	"testing"
	"time"
)

// TestTable judges a process of which one quantity grows beyond its limit.
func TestTable(t *testing.T) {
	t.Parallel()
	measured := map[string]*series{}
	for _, q := range quantities {
		measured[q.name] = drawn(0, 0, 1)
	}
	measured["goroutines"] = drawn(20, 1, 1)
	measured["entries of a_map"] = drawn(0, 1, 1)
	rows, err := judge(measured, 10*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	write(&text, rows)
	if lines := strings.Count(text.String(), "\n"); lines != 2+len(quantities)+1 || strings.Count(text.String(), "**grows**") != 1 {
		t.Errorf("%d lines:\n%s", lines, &text)
	}
	for line := range strings.Lines(text.String()) {
		if strings.Contains(line, "goroutines") != strings.Contains(line, "grows") && strings.HasSuffix(line, "|\n") && !strings.Contains(line, "growth") {
			t.Errorf("%s", line)
		}
	}
	delete(measured, "descriptors")
	if _, err := judge(measured, 0); err == nil || !strings.Contains(err.Error(), "descriptors was measured 0 times") {
		t.Errorf("what was not measured: %v", err)
	}
}
