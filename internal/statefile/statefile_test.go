package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type state struct {
	Version int    `json:"version"`
	Text    string `json:"text"`
}

func TestState(t *testing.T) {
	t.Parallel()
	directory := filepath.Join(t.TempDir(), "new", "directory")
	path := filepath.Join(directory, "state.json")
	var got state
	if err := Read(path, 2, &got); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	for _, text := range []string{"a longer one", "b"} {
		if err := Write(path, state{2, text}); err != nil {
			t.Fatal(err)
		}
		if err := Read(path, 2, &got); err != nil || got.Text != text {
			t.Errorf("%+v, %v; want %s", got, err, text)
		}
	}
	if err := Write(path, func() {}); err == nil {
		t.Error("a function was written")
	}
	if err := Read(path, 2, &got); err != nil || got.Text != "b" {
		t.Errorf("a failed write left %+v, %v", got, err)
	}
	if entries, err := os.ReadDir(directory); err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := Read(path, 3, &got); err == nil || !strings.Contains(err.Error(), "format version 2, want 3") {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte(`{"version":2,"text":`), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Read(path, 2, &got); err == nil || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	aside, err := SetAside(path)
	if err != nil || aside != path+".unreadable" {
		t.Errorf("%s, %v", aside, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the file is still there")
	}
}

// TestKilledWriter leaves a file as a writer does that is killed.
func TestKilledWriter(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	path := filepath.Join(directory, "state.json")
	if err := Write(path, state{1, "whole"}); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".state.json-123", ".state.json-456", ".other.json-123"} {
		if err := os.WriteFile(filepath.Join(directory, name), []byte(`{"vers`), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var got state
	if err := Read(path, 1, &got); err != nil || got.Text != "whole" {
		t.Errorf("%+v, %v", got, err)
	}
	if left, err := filepath.Glob(filepath.Join(directory, ".*")); err != nil || len(left) != 1 || filepath.Base(left[0]) != ".other.json-123" {
		t.Errorf("left: %v, %v; want the other file's", left, err)
	}
}

func TestUnwritable(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(filepath.Join(file, "state.json"), state{}); err == nil || !strings.Contains(err.Error(), "write state file") {
		t.Error(err)
	}
}
