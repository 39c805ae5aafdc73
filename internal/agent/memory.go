package agent

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// collectAt is by how many percent the heap may grow between two collections. An agent's heap lives long and little is
// added to it in a second, so that collecting more often than Go does by itself costs less than it saves.
const collectAt = 35

// SaveMemory makes this process collect garbage early, unless $GOGC says when.
func SaveMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(collectAt)
	}
}

// ForgetStart gives back what only the start needed. The code that was run and the tables that were read once, to parse
// types, load programs and list pods, are half of the pages that stay resident; what is needed again comes back by itself.
func ForgetStart() error {
	debug.FreeOSMemory()
	text, err := os.ReadFile("/proc/self/smaps")
	if err != nil {
		return fmt.Errorf("read what is mapped: %w", err)
	}
	for _, m := range unwritten(string(text)) {
		// By the system call: Go's wrapper wants memory that Go knows of.
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("give back %x-%x: %w", m.from, m.to, errno)
		}
	}
	return nil
}

// mapping is a part of the address space.
type mapping struct{ from, to uintptr }

// unwritten finds in /proc/self/smaps the memory of files that nobody may write to and nobody has written to, as the
// dynamic linker does before it forbids it: such is read from its file again when it is needed.
func unwritten(smaps string) (list []mapping) {
	var m mapping
	candidate := false
	for line := range strings.Lines(smaps) {
		fields := strings.Fields(line)
		switch {
		case len(fields) >= 5 && !strings.HasSuffix(fields[0], ":"):
			// 00400000-010c4000 r-xp 00000000 fe:00 1234    /usr/bin/tracer
			first, last, _ := strings.Cut(fields[0], "-")
			from, err1 := strconv.ParseUint(first, 16, 64)
			to, err2 := strconv.ParseUint(last, 16, 64)
			m = mapping{uintptr(from), uintptr(to)}
			candidate = err1 == nil && err2 == nil && len(fields) == 6 && strings.HasPrefix(fields[5], "/") &&
				strings.HasPrefix(fields[1], "r-") && strings.HasSuffix(fields[1], "p")
		case candidate && len(fields) == 3 && fields[0] == "Anonymous:" && fields[1] == "0":
			list = append(list, m)
		}
	}
	return list
}
