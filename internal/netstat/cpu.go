package netstat

import (
	"fmt"
	"strconv"
	"strings"

	"tracer/internal/record"
)

// parseCPUs reads the lines of /proc/stat for single CPUs: user, nice, system, idle, iowait, irq, softirq, steal (proc(5)). The time of
// guests is in user and nice already.
func parseCPUs(text string) ([]record.CPUTime, error) {
	var all []record.CPUTime
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || !strings.HasPrefix(fields[0], "cpu") {
			break // these lines come first
		}
		if fields[0] == "cpu" {
			continue
		}
		const idle, iowait, softirq, steal, known = 3, 4, 6, 7, 8
		if len(fields) <= known {
			return nil, fmt.Errorf("%d fields in line %q", len(fields), line)
		}
		var ticks [known]uint64
		var cpu record.CPUTime
		for i := range ticks {
			n, err := strconv.ParseUint(fields[1+i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("line %q: %w", line, err)
			}
			ticks[i] = n
			cpu.All += n
		}
		cpu.Idle, cpu.Softirq, cpu.Steal = ticks[idle]+ticks[iowait], ticks[softirq], ticks[steal]
		all = append(all, cpu)
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no CPU in %.40q", text)
	}
	return all, nil
}
