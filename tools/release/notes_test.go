package main

import (
	"slices"
	"strings"
	"testing"
)

func TestSection(t *testing.T) {
	const changelog = "# Changelog\n\n## [Unreleased]\n\n- c\n\n## [0.2.0] - 2027-01-01\n\n- b\n### Fixed\n- x\n\n## [0.1.0]\n"
	for name, want := range map[string]string{"Unreleased": "- c\n", "0.2.0": "- b\n### Fixed\n- x\n", "0.1.0": "", "0.2": ""} {
		if got := section(changelog, name); got != want {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}

// TestChanges: Artifact Hub has the notes' items, each of its kind.
func TestChanges(t *testing.T) {
	notes := "### Added\n\nTracing\n\n- `a`, and\n  more of it.\n- b\n\n  Apart.\n\n### Fixed\n\n- c\n"
	want := []change{{"added", "`a`, and more of it."}, {"added", "b"}, {"fixed", "c"}}
	if got := changes(notes); !slices.Equal(got[:1], want[:1]) || len(got) != 3 || got[2] != want[2] {
		t.Errorf("%q", got)
	}
	if got := changes("### Added\n" + strings.Repeat("- x\n", 100)); len(got) != maxChanges {
		t.Errorf("%d changes", len(got))
	}
}
