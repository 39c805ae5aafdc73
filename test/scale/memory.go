package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// memory is what is resident of a process, and the most that was, in bytes.
func memory(pid int) (now, most uint64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseUint(f[1], 10, 64)
		switch {
		case err != nil:
			return 0, 0, fmt.Errorf("memory of the agent: %q: %w", line, err)
		case f[0] == "VmRSS:":
			now = kib << 10
		case f[0] == "VmHWM:":
			most = kib << 10
		}
	}
	return now, most, nil
}
