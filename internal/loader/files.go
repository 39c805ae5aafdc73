package loader

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// RunDir is where tracers keep their locks, sockets and notes.
const RunDir = "/run/tracer"

// Files are a tracer's files in RunDir (or another directory), named by the inode of its network namespace.
type Files struct {
	Dir   string
	Netns uint64
}

// CurrentFiles are those of the calling thread's network namespace.
func CurrentFiles(dir string) (Files, error) {
	inode, err := currentNetns()
	if err != nil {
		return Files{}, err
	}
	return Files{Dir: dir, Netns: inode}, nil
}

func currentNetns() (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &st); err != nil {
		return 0, fmt.Errorf("find the network namespace: %w", err)
	}
	return st.Ino, nil
}

func (f Files) path(suffix string) string {
	return filepath.Join(f.Dir, strconv.FormatUint(f.Netns, 10)+suffix)
}

// Socket is the path of the agent's unix socket.
func (f Files) Socket() string { return f.path(".sock") }

// AgentSocket is another name of the first agent's socket on this machine: on a node there is one agent, and people know
// where to find it.
func (f Files) AgentSocket() string { return filepath.Join(f.Dir, "agent.sock") }

// LinkAgentSocket gives our socket that name, unless an agent that lives has it.
func (f Files) LinkAgentSocket() error {
	if err := f.unlinkAgentSocket(); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Base(f.Socket()), f.AgentSocket()); err != nil && !errors.Is(err, os.ErrExist) {
		return fmt.Errorf("link agent.sock: %w", err)
	}
	return nil
}

// unlinkAgentSocket takes that name from our socket, and from one that is not there any more.
func (f Files) unlinkAgentSocket() error {
	target, err := os.Readlink(f.AgentSocket())
	if err != nil {
		return nil //nolint:nilerr // there is no such name
	}
	if _, err := os.Stat(f.AgentSocket()); err == nil && target != filepath.Base(f.Socket()) {
		return nil
	}
	return remove(f.AgentSocket())
}

// removeSocket removes our socket and its other name, for the holder of the lock.
func (f Files) removeSocket() error {
	return errors.Join(f.unlinkAgentSocket(), remove(f.Socket()))
}

func remove(name string) error {
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove unused file: %w", err)
	}
	return nil
}

// IdentityFile is the path of the identity file that is read where no other is given.
func (f Files) IdentityFile() string { return f.path(".identity.yaml") }

// ErrLocked says that another tracer holds the namespace.
var ErrLocked = errors.New("another tracer runs in this network namespace")

// Lock is a tracer's hold on a network namespace. It ends with the process.
type Lock struct{ file *os.File }

// Lock takes the namespace, or fails with an error that wraps ErrLocked.
func (f Files) Lock() (*Lock, error) {
	if err := os.MkdirAll(f.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the run directory: %w", err)
	}
	for {
		lock, err := f.tryLock()
		if lock != nil || err != nil {
			return lock, err
		}
	}
}

// tryLock returns nil and no error if the file that it locked was removed meanwhile by its last holder: then two could
// hold locks on two files of one name.
func (f Files) tryLock() (_ *Lock, err error) {
	name := f.path(".lock")
	file, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the lock: %w; run as root", err)
	}
	whole := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(file.Fd(), unix.F_OFD_SETLK, &whole); err != nil {
		holder := make([]byte, 32)
		n, _ := file.ReadAt(holder, 0)
		file.Close()
		if errors.Is(err, unix.EAGAIN) {
			return nil, fmt.Errorf("%w (process %s); stop it, or ask it: tracer diagnose and tracer trace do", ErrLocked, holder[:n])
		}
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	locked, err := file.Stat()
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	switch named, err := os.Stat(name); {
	case errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(locked, named):
		file.Close()
		return nil, nil
	case err != nil:
		file.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	// For the message above only; the lock itself is the kernel's.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt(strconv.AppendInt(nil, int64(os.Getpid()), 10), 0)
	}
	return &Lock{file}, nil
}

// Close gives the namespace free.
func (l *Lock) Close() error {
	return errors.Join(os.Remove(l.file.Name()), l.file.Close())
}

// Locked tells whether a tracer holds the namespace now.
func (f Files) Locked() bool {
	file, err := os.Open(f.path(".lock"))
	if err != nil {
		return false
	}
	defer file.Close()
	// Asking takes no lock, so it never stands in the way of a tracer that starts just now.
	whole := unix.Flock_t{Type: unix.F_RDLCK}
	return unix.FcntlFlock(file.Fd(), unix.F_OFD_GETLK, &whole) == nil && whole.Type != unix.F_UNLCK
}

// ownQdisc is the note of a device's clsact qdisc that a tracer made.
type ownQdisc struct {
	Device string `json:"device"`
	// Marked tells that it was made and has its mark: one without is another's. Before that it is about to be made, or just was.
	Marked bool `json:"marked"`
}

// UnmarshalJSON reads also what versions wrote that noted the device's name alone.
func (q *ownQdisc) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &q.Device) == nil {
		q.Marked = true
		return nil
	}
	type plain ownQdisc
	return json.Unmarshal(text, (*plain)(q))
}

// qdiscs are the devices, by index, that got their clsact qdisc from a tracer.
func (f Files) qdiscs() (map[int]ownQdisc, error) {
	text, err := os.ReadFile(f.path(".qdiscs.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read what an earlier tracer made: %w", err)
	}
	var made map[int]ownQdisc
	if err := json.Unmarshal(text, &made); err != nil {
		return nil, fmt.Errorf("%s: %w; delete the file to go on", f.path(".qdiscs.json"), err)
	}
	return made, nil
}

// setQdiscs replaces the note of what qdiscs returns.
func (f Files) setQdiscs(made map[int]ownQdisc) error {
	name := f.path(".qdiscs.json")
	if len(made) == 0 {
		return errors.Join(remove(name), remove(name+".new")) // the latter of a tracer that was killed as it wrote
	}
	text, err := json.Marshal(made)
	if err != nil {
		return err
	}
	if err := os.WriteFile(name+".new", text, 0o600); err != nil {
		return fmt.Errorf("save the list of own qdiscs: %w", err)
	}
	if err := os.Rename(name+".new", name); err != nil {
		return fmt.Errorf("save the list of own qdiscs: %w", err)
	}
	return nil
}
