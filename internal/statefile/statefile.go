// Package statefile keeps what is known for the next start, as JSON in a file of its own.
package statefile

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// Write replaces the file at path by v. A reader sees the old file or the new one, whole, also after a crash.
func Write(path string, v any) error {
	directory, name := filepath.Split(path)
	if err := os.MkdirAll(directory, 0o700); err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	file, err := os.CreateTemp(directory, "."+name+"-*")
	if err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	defer os.Remove(file.Name())
	err = json.NewEncoder(file).Encode(v)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	if err := os.Rename(file.Name(), path); err != nil {
		return fmt.Errorf("keep state: %w", err)
	}
	return nil
}

// Read reads what Write wrote with that version into v. An error is fs.ErrNotExist where there is none.
func Read(path string, version int, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read state: %w", err)
	}
	var format struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &format); err != nil {
		return fmt.Errorf("read state from %s: %w", path, err)
	}
	if format.Version != version {
		return fmt.Errorf("read state from %s: its format is %d, and this program's %d", path, format.Version, version)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read state from %s: %w", path, err)
	}
	return nil
}

// SetAside renames a file that cannot be read, in place of one set aside before, and returns its new name.
func SetAside(path string) (string, error) {
	aside := path + ".unreadable"
	if err := os.Rename(path, aside); err != nil {
		return "", fmt.Errorf("set state aside: %w", err)
	}
	return aside, nil
}
