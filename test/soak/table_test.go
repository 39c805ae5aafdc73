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
	none := drawn(0, 0, 1)
	clear(none.values)
	measured["records lost"] = none
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
	if rows, err := judge(measured, 0); err == nil || !strings.Contains(err.Error(), "descriptors was measured 0 times") || len(rows) != len(quantities) {
		t.Errorf("what was not measured: %d rows, %v", len(rows), err)
	}
}

// TestVerdict takes no single lost record for flat, nor a line that rises while its values scatter.
func TestVerdict(t *testing.T) {
	t.Parallel()
	never := quantity{never: true}
	for _, test := range []struct {
		name string
		row  row
		want string
	}{
		{"nothing lost", row{quantity: never}, flat},
		{"lost once, in the middle", row{quantity: never, line: line{high: 3, growth: 0, least: -1}}, grows},
		{"rises for sure", row{line: line{growth: 5, least: 3}, limit: 2}, grows},
		{"rises, or scatters", row{line: line{growth: 5, least: -1}, limit: 2}, unclear},
		{"rises by less than the limit", row{line: line{growth: 1, least: 0.9}, limit: 2}, flat},
	} {
		if got := test.row.verdict(); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}
