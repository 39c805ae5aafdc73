package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// releaseNotes is what the changelog says of this version, or of what is not released yet where it has no such section.
func releaseNotes(r *release) (string, error) {
	changelog, err := os.ReadFile(filepath.Join(r.source, "CHANGELOG.md"))
	if err != nil {
		return "", err
	}
	for _, name := range []string{r.number(), "Unreleased"} {
		if notes := section(string(changelog), name); notes != "" {
			return notes, nil
		}
	}
	return "", fmt.Errorf("CHANGELOG.md has neither a section [%s] nor [Unreleased]", r.number())
}

func writeNotes(r *release) error {
	notes, err := releaseNotes(r)
	if err != nil {
		return err
	}
	return os.WriteFile(r.file("notes.md"), []byte(notes), 0o644)
}

// change is one of a version, in Artifact Hub's words: those of Keep a Changelog.
type change struct {
	Kind        string `yaml:"kind"` // added, changed, deprecated, removed, fixed or security
	Description string `yaml:"description"`
}

// maxChanges bounds them: the first version has everything.
const maxChanges = 40

// changes are the items of notes, each under the heading that says of which kind it is.
func changes(notes string) (all []change) {
	kind, item := "", false
	for line := range strings.Lines(notes) {
		line = strings.TrimRight(line, "\n ")
		text, begins := strings.CutPrefix(line, "- ")
		switch {
		case strings.HasPrefix(line, "### "):
			kind, item = strings.ToLower(strings.TrimPrefix(line, "### ")), false
		case begins && kind != "":
			all, item = append(all, change{kind, text}), true
		case item && strings.HasPrefix(line, "  "):
			all[len(all)-1].Description += " " + strings.TrimSpace(line)
		default:
			item = false
		}
	}
	return all[:min(len(all), maxChanges)]
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
