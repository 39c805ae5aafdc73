package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// machine is where the numbers come from.
type machine struct {
	CPU    string `json:"cpu"`
	CPUs   int    `json:"cpus"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
	// Load is how many processes wanted a CPU in the minute before: with more than a few tenths the numbers are noise.
	Load float64 `json:"load"`
}

func (m machine) String() string {
	return fmt.Sprintf("%s (%d CPUs), Linux %s, %s, load %.1f before", m.CPU, m.CPUs, m.Kernel, m.Go, m.Load)
}

func thisMachine() (machine, error) {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return machine{}, fmt.Errorf("read the kernel's version: %w", err)
	}
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return machine{}, fmt.Errorf("read the CPU's name: %w", err)
	}
	average, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return machine{}, fmt.Errorf("read the load: %w", err)
	}
	m := machine{
		CPU: cpuName(string(text)), CPUs: runtime.NumCPU(), Kernel: unix.ByteSliceToString(name.Release[:]), Go: runtime.Version(),
	}
	if _, err := fmt.Sscan(string(average), &m.Load); err != nil {
		return machine{}, fmt.Errorf("read the load: %w", err)
	}
	return m, nil
}

// cpuName finds the model in the text of /proc/cpuinfo; on arm64, which has none there, it is the architecture.
func cpuName(cpuinfo string) string {
	for line := range strings.Lines(cpuinfo) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return runtime.GOARCH
}
