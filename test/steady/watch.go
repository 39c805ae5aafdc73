// Package steady lets live tests measure time on a machine that may stand still: it watches the machine meanwhile, and what
// was wrong while it stood still is measured again.
package steady

import (
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Limits are what a measurement bears.
type Limits struct {
	Late  time.Duration // by which a thread that has slept is woken
	Steal float64       // share of the CPUs' time that the hypervisor gave to others
}

// Default bears a neighbour that takes a CPU, whose turn is 3 ms on a kernel as it comes, and not a machine that is away.
var Default = Limits{Late: 10 * time.Millisecond, Steal: 0.05}

// Disturbance is how a machine was while it was watched.
type Disturbance struct {
	Late    time.Duration // the most
	Steal   float64
	Waiting time.Duration // of all our threads together, for a CPU; to be told, as threads of ours that crowd each other wait too
}

// Over tells whether that was more than a measurement bears.
func (d Disturbance) Over(l Limits) bool { return d.Late > l.Late || d.Steal > l.Steal }

func (d Disturbance) String() string {
	return fmt.Sprintf("a thread was woken %v late, %.1f %% of the CPU's time was stolen, our threads waited %v for a CPU",
		d.Late.Round(100*time.Microsecond), 100*d.Steal, d.Waiting.Round(time.Millisecond))
}

// interval is how long the watching thread sleeps.
const interval = 2 * time.Millisecond

// watch watches until stop is called, which says what it has seen.
func watch() (stop func() Disturbance) {
	var ends atomic.Bool
	late := make(chan time.Duration)
	stolen, total := cpuTime(readFile("/proc/stat"))
	waited := runDelay()
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		var most time.Duration
		for !ends.Load() {
			before := monotonic()
			sleep := unix.NsecToTimespec(int64(interval))
			if unix.ClockNanosleep(unix.CLOCK_MONOTONIC, 0, &sleep, nil) == nil { // not one that a signal cut short
				most = max(most, monotonic()-before-interval)
			}
		}
		late <- most
	}()
	return func() Disturbance {
		ends.Store(true)
		d := Disturbance{Late: <-late, Waiting: max(0, runDelay()-waited)}
		stolenNow, totalNow := cpuTime(readFile("/proc/stat"))
		if totalNow > total {
			d.Steal = (stolenNow - stolen) / (totalNow - total)
		}
		return d
	}
}

func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return 0
	}
	return time.Duration(now.Nano())
}

// cpuTime reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal.
func cpuTime(stat []byte) (stolen, total float64) {
	line, _, _ := bytes.Cut(stat, []byte("\n"))
	fields := bytes.Fields(line)
	for i := 1; i < min(9, len(fields)); i++ {
		ticks, err := strconv.ParseFloat(string(fields[i]), 64)
		if err != nil {
			return 0, 0
		}
		total += ticks
		if i == 8 {
			stolen = ticks
		}
	}
	return stolen, total
}

// runDelay is how long this process's threads have waited for a CPU: the second field of their schedstat.
func runDelay() (sum time.Duration) {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return 0
	}
	for _, task := range tasks {
		fields := bytes.Fields(readFile("/proc/self/task/" + task.Name() + "/schedstat"))
		if len(fields) > 1 {
			ns, _ := strconv.ParseInt(string(fields[1]), 10, 64)
			sum += time.Duration(ns)
		}
	}
	return sum
}

// readFile reads what may not be there: a kernel without it tells nothing.
func readFile(name string) []byte {
	text, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	return text
}
