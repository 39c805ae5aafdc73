package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// save writes the numbers to a file, whose directory it makes.
func (r *report) save(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", name, err)
	}
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("save the numbers: %w", err)
	}
	if err := errors.Join(r.json(file), file.Close()); err != nil {
		return fmt.Errorf("save the numbers to %s: %w", name, err)
	}
	return nil
}

// lastRun is the heading of a page's last section, which holds the tables.
const lastRun = "## The last run\n"

// document puts the tables into a page, in place of the last run's.
func (r *report) document(name string) error {
	page, err := os.ReadFile(name)
	if err != nil {
		return fmt.Errorf("read the page for the tables: %w", err)
	}
	before, _, found := strings.Cut(string(page), lastRun)
	if !found {
		return fmt.Errorf("%s has no heading %q for the tables", name, strings.TrimSpace(lastRun))
	}
	var tables bytes.Buffer
	if err := r.text(&tables); err != nil {
		return err
	}
	text := before + lastRun + "\n```\n" + strings.TrimSpace(tables.String()) + "\n```\n"
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write the tables: %w", err)
	}
	return nil
}
