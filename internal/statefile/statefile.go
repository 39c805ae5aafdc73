// Package statefile writes and reads state that is to survive a restart of the agent: a JSON file, replaced as a whole, with the
// version of its format.
package statefile

import (
	"bufio"
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
	removeUnfinished(path)
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read state file: %w", err)
	}
	if err := checkVersion(data, version); err != nil {
		return fmt.Errorf("read state file %s: %w", path, err)
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("read state file %s: %w", path, err)
	}
	return nil
}

func removeUnfinished(path string) {
	directory, name := filepath.Split(path)
	left, _ := filepath.Glob(filepath.Join(directory, unfinished(name)))
	for _, file := range left {
		_ = os.Remove(file) // no harm in one that stays
	}
}

func checkVersion(data []byte, want int) error {
	var format struct {
		Version int `json:"version"`
	}
	if err := json.Unmarshal(data, &format); err != nil {
		return err
	}
	if format.Version != want {
		return fmt.Errorf("format version %d, want %d", format.Version, want)
	}
	return nil
}

// Each is Read of what Stream wrote: the last field, of that name, is a list, whose elements are handed over one by one, and the fields
// before it go into head. After an error not all elements were handed over.
func Each[T any](path string, version int, head any, list string, element func(*T)) error {
	removeUnfinished(path)
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read state file: %w", err)
	}
	defer file.Close()
	d := json.NewDecoder(bufio.NewReader(file))
	if err := each(d, version, head, list, element); err != nil {
		return fmt.Errorf("read state file %s: %w", path, err)
	}
	return nil
}

func each[T any](d *json.Decoder, version int, head any, list string, element func(*T)) error {
	if err := token(d, json.Delim('{')); err != nil {
		return err
	}
	fields := map[string]json.RawMessage{}
	for {
		name, err := d.Token()
		if err != nil {
			return err
		}
		if name == list {
			break
		}
		text, ok := name.(string)
		if !ok {
			return fmt.Errorf("no %q", list)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return err
		}
		fields[text] = value
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return err
	}
	if err := errors.Join(checkVersion(data, version), json.Unmarshal(data, head), token(d, json.Delim('['))); err != nil {
		return err
	}
	for d.More() {
		v := new(T)
		if err := d.Decode(v); err != nil {
			return err
		}
		element(v)
	}
	return errors.Join(token(d, json.Delim(']')), token(d, json.Delim('}')))
}

// token reads one that has to be there.
func token(d *json.Decoder, want json.Token) error {
	switch got, err := d.Token(); {
	case err != nil:
		return err
	case got != want:
		return fmt.Errorf("%v in the place of %v", got, want)
	}
	return nil
}

// Append adds data to the end of a file, or makes one that has it. After an error, or a crash, a part of it may be there.
func Append(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write state file: %w", err)
	}
	_, err = file.Write(data)
	if err = errors.Join(err, file.Sync(), file.Close()); err != nil {
		return fmt.Errorf("write state file: %w", err)
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
