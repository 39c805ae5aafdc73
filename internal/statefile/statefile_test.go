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

// TestEach reads a long list element by element, and refuses what is damaged, however far it is read before.
func TestEach(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "state.json")
	type element struct{ Name string }
	for _, test := range []struct{ content, want, refused string }{
		{`{"version":2,"text":"head","list":[{"name":"a"},{"name":"b"}]}`, "head a b", ""},
		{`{"version":2,"list":[]}`, "", ""},
		{`{"version":3,"text":"head","list":[{"name":"a"}]}`, "", "format version 3, want 2"},
		{`{"list":[{"name":"a"}],"version":2}`, "", "format version 0, want 2"},
		{`{"version":2,"text":"head"}`, "", `no "list"`},
		{`{"version":2,"text":"head","list":{"name":"a"}}`, "", "in the place of ["},
		{`{"version":2,"text":"head","list":[{"name":"a"},{"na`, "", "unexpected EOF"},
		{`{"version":2,"text":"head","list":[{"name":"a"}`, "", "EOF"},
		{`[]`, "", "in the place of {"},
		{``, "", "EOF"},
	} {
		if err := os.WriteFile(path, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		var head state
		var names []string
		err := Each(path, 2, &head, "list", func(e *element) { names = append(names, e.Name) })
		if test.refused != "" {
			if err == nil || !strings.Contains(err.Error(), test.refused) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v, want %s", test.content, err, test.refused)
			}
			continue
		}
		if got := strings.TrimSpace(head.Text + " " + strings.Join(names, " ")); err != nil || got != test.want {
			t.Errorf("%s: %q, %v; want %q", test.content, got, err, test.want)
		}
	}
	if err := Each(path+".none", 2, new(state), "list", func(*element) {}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

// TestAppend adds to a file, or makes it.
func TestAppend(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "changes")
	for _, line := range []string{"a\n", "b\n"} {
		if err := Append(path, []byte(line)); err != nil {
			t.Fatal(err)
		}
	}
	if content, err := os.ReadFile(path); err != nil || string(content) != "a\nb\n" {
		t.Errorf("%q, %v", content, err)
	}
	if err := Append(filepath.Join(path, "under"), nil); err == nil || !strings.Contains(err.Error(), "write state file") {
		t.Error(err)
	}
}
