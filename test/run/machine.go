package main

import (
	"fmt"
	"os"
	"regexp"
	"runtime"
	"strconv"
	"strings"
)

var (
	modelLine  = regexp.MustCompile(`(?m)^model name\s*: (.*)$`)
	memoryLine = regexp.MustCompile(`(?m)^MemTotal:\s+(\d+) kB$`)
)

// machine says what we run on, and how busy that is.
func machine() string {
	return fmt.Sprintf("machine: %s, %d CPUs, %.0f GB of memory, Linux %s, load %s",
		field("/proc/cpuinfo", modelLine), runtime.NumCPU(), float64(memory())/1e9,
		strings.TrimSpace(read("/proc/sys/kernel/osrelease")), strings.TrimSpace(read("/proc/loadavg")))
}

// memory is the machine's, in bytes, 0 if unknown.
func memory() uint64 {
	kilobytes, _ := strconv.ParseUint(field("/proc/meminfo", memoryLine), 10, 64)
	return kilobytes << 10
}

func field(file string, line *regexp.Regexp) string {
	if m := line.FindStringSubmatch(read(file)); m != nil {
		return m[1]
	}
	return "unknown"
}

func read(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return "unknown"
	}
	return string(text)
}
