package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// state is what is kept of a lab in its directory. It is written before anything is made, and again with every
// change, so that a lab can be removed even if the process that built it died half-way.
type state struct {
	topology
	Created   time.Time     `json:"created"`
	Ready     bool          `json:"ready"` // it was built to the end
	InProcess bool          `json:"in_process"`
	Processes []process     `json:"processes"`
	Faults    []ActiveFault `json:"faults"`
}

func (s *state) write(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return fmt.Errorf("lab state: %w", err)
	}
	path := filepath.Join(dir, "state.json")
	if err := os.WriteFile(path+".new", append(data, '\n'), 0o644); err != nil {
		return fmt.Errorf("write lab state: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("write lab state: %w", err)
	}
	return nil
}

func readState(dir string) (*state, error) {
	data, err := os.ReadFile(filepath.Join(dir, "state.json"))
	if err != nil {
		return nil, fmt.Errorf("read lab state: %w", err)
	}
	s := new(state)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("read lab state: %s: %w", dir, err)
	}
	return s, nil
}

// lockDir keeps other processes from changing the lab until unlock is called or this process ends.
func lockDir(dir string) (unlock func(), err error) {
	file, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock lab: %w", err)
	}
	for {
		err = unix.Flock(int(file.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock lab: %w", err)
	}
	return func() { file.Close() }, nil
}

// notUp is the error of commands that need a lab.
func notUp(name string) error {
	return fmt.Errorf("lab %q is not up: build it with `%s`", name, command("up", name))
}

// command is what a person types for a lab.
func command(verb, name string) string {
	if name == DefaultName {
		return "tracer lab " + verb
	}
	return fmt.Sprintf("tracer lab %s --name %s", verb, name)
}

// makeDir makes the lab's directory, which nobody else may have made.
func makeDir(dir string) error {
	for {
		if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
			return fmt.Errorf("make lab directory: %w", err)
		}
		// Another lab, the last one, may just have removed what we share.
		if err := os.Mkdir(dir, 0o755); err == nil {
			return nil
		} else if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make lab directory: %w", err)
		}
	}
}

// removeDir removes the lab's directory, and the one that labs share if this was the last. The run directory is
// the agents' too and stays.
func removeDir(dir string) error {
	if err := os.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove lab state: %w", err)
	}
	if err := os.Remove(filepath.Dir(dir)); err != nil && !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove lab state: %w", err)
	}
	return nil
}
