// Package statefile writes and reads state that is to survive a restart of the agent: a JSON file, replaced as a whole, with the
// version of its format.
package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Write replaces the file at path by v. A reader sees the old file or the new one, whole, also after a crash.
func Write(path string, v any) error {
	return Stream(path, func(w io.Writer) error { return json.NewEncoder(w).Encode(v) })
}

// Stream is Write of what is too large to be in memory as a whole: a function writes its JSON.
func Stream(path string, write func(io.Writer) error) error {
	directory, name := filepath.Split(path)
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	file, err := os.CreateTemp(directory, unfinished(name))
	if err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	defer os.Remove(file.Name())
	err = write(file)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	return nil
}

// unfinished are the names of files that are being written.
func unfinished(name string) string { return "." + name + "-*" }

// Read reads into v what Write wrote, whose JSON has to have that "version". The error is fs.ErrNotExist where there is no file.
// It removes what a writer left that was killed: it is for the start, when nobody writes.
func Read(path string, version int, v any) error {
	directory, name := filepath.Split(path)
	left, _ := filepath.Glob(filepath.Join(directory, unfinished(name)))
	for _, file := range left {
		_ = os.Remove(file) // no harm in one that stays
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read state file: %w", err)
	}
	var format struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &format); err != nil {
		return fmt.Errorf("read state file %s: %w", path, err)
	}
	if format.Version != version {
		return fmt.Errorf("read state file %s: format version %d, want %d", path, format.Version, version)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read state file %s: %w", path, err)
	}
	return nil
}

// SetAside renames a file that Read refuses, over one that was set aside before, and returns its new name.
func SetAside(path string) (string, error) {
	aside := path + ".unreadable"
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("set state aside: %w", err)
	}
	return aside, nil
}
