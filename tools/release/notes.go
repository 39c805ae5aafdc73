package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeNotes writes what the changelog says of this version, or of what is not released yet where it has no such section.
func writeNotes(r *release) error {
	changelog, err := os.ReadFile(filepath.Join(r.source, "CHANGELOG.md"))
	if err != nil {
		return err
	}
	notes := section(string(changelog), r.number())
	if notes == "" {
		fmt.Printf("CHANGELOG.md has no section [%s]: the notes are those of [Unreleased]\n", r.number())
		notes = section(string(changelog), "Unreleased")
	}
	if notes == "" {
		return fmt.Errorf("CHANGELOG.md has neither a section [%s] nor [Unreleased]", r.number())
	}
	return os.WriteFile(r.file("notes.md"), []byte(notes), 0o644)
}

// section is the text below "## [NAME]", up to the next heading of its level.
func section(changelog, name string) string {
	var text []string
	inside := false
	for line := range strings.Lines(changelog) {
		if strings.HasPrefix(line, "## ") {
			inside = strings.HasPrefix(line, "## ["+name+"]")
			continue
		}
		if inside {
			text = append(text, line)
		}
	}
	if trimmed := strings.TrimSpace(strings.Join(text, "")); trimmed != "" {
		return trimmed + "\n"
	}
	return ""
}
