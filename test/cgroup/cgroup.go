// Package cgroup limits the CPU time and the memory of what tests start, by cgroups of version 1 or 2.
package cgroup

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Limits are those of a group. One that is 0 is none.
type Limits struct {
	CPU    float64 // CPUs
	Memory int64   // bytes
}

// period is that over which CPU time is limited, in µs: the kernel's default.
const period = 100_000

// Group is one directory, or in version 1 one for each limit.
type Group struct{ dirs []string }

// Run is a variable of the environment with the name of a run of tests.
const Run = "TRACER_TEST_GROUPS"

// NewRun names a run after this process, whose number counts in its process namespace.
func NewRun() (string, error) {
	namespace, err := processNamespace()
	return namespace + "-" + strconv.Itoa(os.Getpid()), err
}

func processNamespace() (string, error) {
	link, err := os.Readlink("/proc/self/ns/pid")
	return strings.Trim(link, "pid:[]"), err
}

// nameOf is how the names of a run's groups begin. test/k8srig, which cannot import this package, has names of the same form.
func nameOf(run string) string { return "tracer-test-" + run + "-" }

// groups are those whose names begin so, in each hierarchy.
func groups(prefix string) []string {
	dirs, _ := filepath.Glob(filepath.Join(root, prefix+"*"))
	below, _ := filepath.Glob(filepath.Join(root, "*", prefix+"*"))
	return append(dirs, below...)
}

// Sweep removes the groups that the tests of a run have left, all of which have ended.
func Sweep(run string) error {
	var errs []error
	for _, dir := range groups(nameOf(run)) {
		errs = append(errs, removeSoon(dir))
	}
	return errors.Join(errs...)
}

// SweepEnded removes the groups of runs that were killed, where no process is left in them. Whether a run of another process
// namespace goes on cannot be known here.
func SweepEnded() error {
	namespace, err := processNamespace()
	if err != nil {
		return err
	}
	for _, dir := range groups(nameOf(namespace)) {
		var pid int
		_, err := fmt.Sscanf(filepath.Base(dir), nameOf(namespace)+"%d-", &pid)
		if err == nil && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = removeAll(dir) // or something runs in it
		}
	}
	return nil
}

// root is where cgroups are, of either version.
const root = "/sys/fs/cgroup"

// New makes a group, which is removed with the test: the processes in it must have ended by then.
func New(t testing.TB, l Limits) Group {
	t.Helper()
	run := os.Getenv(Run)
	if run == "" { // go test by hand
		var err error
		if run, err = NewRun(); err != nil {
			t.Fatal(err)
		}
	}
	quota := int(l.CPU * period)
	var g Group
	make := func(parent string, files map[string]string) {
		t.Helper()
		dir, err := os.MkdirTemp(parent, nameOf(run))
		if err != nil {
			t.Fatal(err)
		}
		g.dirs = append(g.dirs, dir)
		t.Cleanup(func() { remove(t, dir) })
		for file, text := range files {
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatalf("limit a cgroup: %v", err)
			}
		}
	}
	if _, err := os.Stat(root + "/cgroup.controllers"); err == nil {
		files := map[string]string{}
		if l.CPU > 0 {
			files["cpu.max"] = fmt.Sprint(quota, period)
			_ = os.WriteFile(root+"/cgroup.subtree_control", []byte("+cpu"), 0o644)
		}
		if l.Memory > 0 {
			files["memory.max"] = strconv.FormatInt(l.Memory, 10)
			_ = os.WriteFile(root+"/cgroup.subtree_control", []byte("+memory"), 0o644)
		}
		make(root, files)
		return g
	}
	if l.CPU > 0 {
		make(root+"/cpu", map[string]string{"cpu.cfs_period_us": strconv.Itoa(period), "cpu.cfs_quota_us": strconv.Itoa(quota)})
	}
	if l.Memory > 0 {
		make(root+"/memory", map[string]string{"memory.limit_in_bytes": strconv.FormatInt(l.Memory, 10)})
	}
	return g
}

// Join is a command of a shell by which it, and what it starts, is in the group.
func (g Group) Join() string {
	commands := []string{":"}
	for _, dir := range g.dirs {
		commands = append(commands, "echo $$ >"+dir+"/cgroup.procs")
	}
	return strings.Join(commands, " && ")
}

// PeakMemory is the most that a group with a limit of memory has used of it, in bytes, with what the kernel keeps for it: maps, page tables,
// cached files.
func (g Group) PeakMemory() (most int64, err error) {
	for _, file := range []string{"memory.peak", "memory.max_usage_in_bytes"} {
		for _, dir := range g.dirs {
			text, err := os.ReadFile(filepath.Join(dir, file))
			if err == nil {
				return strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
			}
		}
	}
	return 0, errors.New("the group has no limit of memory, or the kernel does not tell its peak")
}

// Add moves a process into the group, with all its threads.
func (g Group) Add(pid int) error { return move(g.dirs, pid) }

// Release moves a process back to the groups' parents.
func (g Group) Release(pid int) error {
	var parents []string
	for _, dir := range g.dirs {
		parents = append(parents, filepath.Dir(dir))
	}
	return move(parents, pid)
}

func move(dirs []string, pid int) error {
	for _, dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func remove(t testing.TB, dir string) {
	if err := removeSoon(dir); err != nil {
		t.Error(err)
	}
}

// removeSoon waits until the kernel has forgotten the group's last process.
func removeSoon(dir string) error {
	err := removeAll(dir)
	for end := time.Now().Add(5 * time.Second); err != nil && time.Now().Before(end); err = removeAll(dir) {
		time.Sleep(20 * time.Millisecond)
	}
	return err
}

// removeAll removes a group with those in it. One that is not there is none to remove: two names may lead to a hierarchy.
func removeAll(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err == nil && d.IsDir() {
			dirs = append(dirs, name)
		}
		return err
	})
	for _, dir := range slices.Backward(dirs) {
		if failed := os.Remove(dir); !errors.Is(failed, fs.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}
	return err
}
