package netstat

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"tracer/internal/record"
)

// cgroups finds the cgroups of processes under the directories of a machine's root; "" is this one's.
type cgroups struct{ root string }

// Throttling is how the cgroups of processes were held back by their CPU limits, all together. Those without a limit, and those that have
// ended or are not to be seen, are left out.
func Throttling(pids []string) record.Throttling { return cgroups{}.sum(pids) }

func (c cgroups) sum(pids []string) (sum record.Throttling) {
	seen := map[string]bool{}
	for _, pid := range pids {
		file, cgroup, err := c.cpuStat(pid)
		if err != nil || file == "" || seen[cgroup] {
			continue
		}
		seen[cgroup] = true
		if t, err := c.read(file); err == nil && t != nil {
			sum.Periods += t.Periods
			sum.Throttled += t.Throttled
			sum.Seconds += t.Seconds
		}
	}
	return sum
}

// throttling is how the cgroup of a process was held back by its CPU limit; nil if it has none, or where that cannot be seen.
func (c cgroups) throttling(pid string) (*record.Throttling, error) {
	file, _, err := c.cpuStat(pid)
	if file == "" || err != nil {
		return nil, err
	}
	return c.read(file)
}

// read reads a cpu.stat; nil without a limit.
func (c cgroups) read(file string) (*record.Throttling, error) {
	text, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist): // the root's has none
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("read CPU throttling: %w", err)
	}
	t, err := parseCPUStat(string(text))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", file, err)
	}
	return t, nil
}

// cpuStat is the file of a process's cgroup, and that cgroup's path; "" where it is not to be seen from here.
func (c cgroups) cpuStat(pid string) (file, cgroup string, err error) {
	text, err := os.ReadFile(filepath.Join(c.root, "/proc", pid, "cgroup"))
	if err != nil {
		return "", "", fmt.Errorf("find the cgroup of process %s: %w", pid, err)
	}
	for line := range strings.Lines(string(text)) {
		// 4:cpu,cpuacct:/kubepods/pod1 of version 1, 0::/kubepods.slice/pod1 of version 2.
		parts := strings.SplitN(strings.TrimSuffix(line, "\n"), ":", 3)
		if len(parts) != 3 {
			continue
		}
		mounts := []string{"", "unified"} // of version 2, alone or beside version 1
		if parts[1] != "" {
			if !slices.Contains(strings.Split(parts[1], ","), "cpu") {
				continue
			}
			mounts = []string{parts[1], "cpu"}
		} else if parts[0] != "0" {
			continue
		}
		if strings.HasPrefix(parts[2], "/..") { // outside of our cgroup namespace: as the process itself sees it
			return filepath.Join(c.root, "/proc", pid, "root/sys/fs/cgroup/cpu.stat"), parts[2], nil
		}
		for _, mount := range mounts {
			file = filepath.Join(c.root, "/sys/fs/cgroup", mount, parts[2], "cpu.stat")
			if _, err := os.Stat(file); err == nil {
				return file, parts[2], nil
			}
		}
	}
	return "", "", nil
}

// parseCPUStat reads nr_periods, nr_throttled and throttled_usec, or throttled_time in nanoseconds of cgroups of version 1; nil without a
// limit.
func parseCPUStat(text string) (*record.Throttling, error) {
	var t record.Throttling
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) != 2 {
			continue
		}
		n, err := strconv.ParseUint(fields[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("line %q: %w", line, err)
		}
		switch fields[0] {
		case "nr_periods":
			t.Periods = n
		case "nr_throttled":
			t.Throttled = n
		case "throttled_usec":
			t.Seconds = float64(n) / 1e6
		case "throttled_time":
			t.Seconds = float64(n) / 1e9
		}
	}
	if t.Periods == 0 {
		return nil, nil
	}
	return &t, nil
}
