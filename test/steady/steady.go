// Package steady tells whether the machine kept up while a live test measured time on it. A bound on a delay says nothing
// on a machine that stood still: what a test measured then is measured again, and what it found on a steady machine
// counts.
package steady

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The limits within which the bounds of live tests hold. They are taken from runs of all live tests on two cores: an idle
// machine stays below a tenth of each, one busy loop beside keeps below them, a machine that is suspended or robbed of its
// CPU does not.
const (
	// MaxLate is how late a thread that sleeps may wake up: the bounds of the tests are multiples of it.
	MaxLate = 50 * time.Millisecond
	// MaxSteal is the share of CPU time that the hypervisor may give to others.
	MaxSteal = 0.05
	// maxLateElsewhere is MaxLate for tests that do not watch the machine themselves, or for many together. They leave more room than
	// those that measure time, and in their minutes a shared machine nearly always stands still for those 50 ms.
	maxLateElsewhere = 300 * time.Millisecond
)

// What begins the line that a failed test logs: the machine exceeded a limit, or did not; and the line of each time that a test has
// measured again. The test runner looks for them.
const (
	Exceeded   = "steady: limit exceeded: "
	Within     = "steady: within the limits: "
	AskedAgain = "steady: asked again: "
)

// period is how long the watching thread sleeps. A stall shorter than that may pass between two looks.
const period = 5 * time.Millisecond

// Stall is how far a machine fell behind.
type Stall struct {
	Late  time.Duration // longest time by which a thread woke up late
	Steal float64       // share of all CPUs' time, 0 to 1
	Wait  float64       // share of the time in which some task waited for a CPU (PSI), 0 to 1; 0 where that is not known. It has no limit: a test's own load waits too
}

// Exceeded tells whether the machine fell behind so far that what was measured meanwhile says nothing.
func (s Stall) Exceeded() bool { return s.Late > MaxLate || s.Steal > MaxSteal }

// StoodStill tells whether the machine fell behind so far that a test may fail for it that does not rest on short times.
func (s Stall) StoodStill() bool { return s.Late > maxLateElsewhere || s.Steal > MaxSteal }

func (s Stall) String() string {
	return fmt.Sprintf("a thread woke up %v late (limit %v), %.1f %% of CPU time was stolen (limit %.0f %%), tasks waited for a CPU in %.0f %% of the time",
		s.Late.Round(100*time.Microsecond), MaxLate, s.Steal*100, MaxSteal*100, s.Wait*100)
}

// InGuest tells whether this is an emulated machine of test/vm, by what that says on its kernel's command line. Its time is
// virtual, its CPUs are slow, and a test may do with it what it wants.
func InGuest() bool {
	line, err := os.ReadFile("/proc/cmdline")
	return err == nil && bytes.Contains(line, []byte(" job_device="))
}

// Watch watches the machine until the test has ended. If the test has failed by then, it logs how far the machine fell
// behind, and begins the line with Exceeded if that is beyond the limits, else with Within.
func Watch(t testing.TB) {
	t.Helper()
	w, err := Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stall, err := w.Stop()
		switch {
		case err != nil:
			t.Error(err)
		case !t.Failed():
		case stall.Exceeded():
			t.Log(Exceeded + stall.String())
		default:
			t.Log(Within + stall.String())
		}
	})
}

// MaxAsks is how often something is measured at most.
const MaxAsks = 3

// Measure measures something, again while that says nothing. measure says why it does not, or "".
func Measure(t testing.TB, measure func() (why string)) {
	t.Helper()
	for asks := 1; ; asks++ {
		why := measure()
		switch {
		case why == "":
			return
		case asks == MaxAsks:
			t.Fatalf("measured %d times: %s", asks, why)
		}
		t.Log(AskedAgain + why)
	}
}

// Repeat asks for something that rests on times, again while the machine does not keep up. ask says what is wrong with it, or "".
func Repeat(t testing.TB, ask func() (wrong string)) {
	t.Helper()
	Measure(t, func() string {
		t.Helper()
		w, err := Start()
		if err != nil {
			t.Fatal(err)
		}
		wrong := ask()
		stall, err := w.Stop()
		switch {
		case err != nil:
			t.Fatal(err)
		case wrong == "":
			return ""
		case !stall.Exceeded():
			t.Fatal(wrong)
		}
		return fmt.Sprintf("%s: %s", stall, wrong)
	})
}

// Watcher watches the machine.
type Watcher struct {
	begin time.Time
	from  counters
	stop  chan struct{}
	done  sync.WaitGroup
	late  time.Duration // the watching thread's until it is done
}

// Start begins to watch.
func Start() (*Watcher, error) {
	from, err := read()
	if err != nil {
		return nil, err
	}
	w := &Watcher{begin: time.Now(), from: from, stop: make(chan struct{})}
	w.done.Go(w.watch)
	return w, nil
}

func (w *Watcher) watch() {
	// A thread of its own, so that the Go scheduler's queue is not taken for the machine's.
	runtime.LockOSThread()
	last := w.begin
	for {
		now := time.Now()
		w.late = max(w.late, now.Sub(last)-period)
		last = now
		select {
		case <-w.stop:
			return
		default:
			time.Sleep(period)
		}
	}
}

// Stop ends watching and returns the worst that was seen.
func (w *Watcher) Stop() (Stall, error) {
	close(w.stop)
	w.done.Wait()
	to, err := read()
	if err != nil {
		return Stall{}, err
	}
	s := Stall{Late: w.late}
	if all := to.all - w.from.all; all > 0 {
		s.Steal = float64(to.steal-w.from.steal) / float64(all)
	}
	if elapsed := time.Since(w.begin); elapsed > 0 {
		s.Wait = min(1, float64(to.waited-w.from.waited)/float64(elapsed))
	}
	return s, nil
}

// counters are what the kernel has counted since it was booted.
type counters struct {
	all, steal uint64        // jiffies of all CPUs
	waited     time.Duration // in which some task waited for a CPU
}

func read() (c counters, err error) {
	stat, err := os.ReadFile("/proc/stat")
	if err != nil {
		return c, fmt.Errorf("read CPU times: %w", err)
	}
	if c.all, c.steal, err = parseStat(stat); err != nil {
		return c, err
	}
	pressure, err := os.ReadFile("/proc/pressure/cpu")
	if errors.Is(err, os.ErrNotExist) {
		return c, nil // built without PSI, or booted with psi=0
	}
	if err != nil {
		return c, nil //nolint:nilerr // EOPNOTSUPP where psi is off: what it tells is extra
	}
	c.waited, err = parsePressure(pressure)
	return c, err
}

// parseStat reads the first line of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal (proc(5)). What
// follows are guests, whose time is in user's and nice's already.
func parseStat(text []byte) (all, steal uint64, err error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := strings.Fields(string(line))
	if len(fields) < 9 || fields[0] != "cpu" {
		return 0, 0, fmt.Errorf("/proc/stat begins with %q", line)
	}
	for i, field := range fields[1:9] {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("/proc/stat: %w", err)
		}
		all += n
		if i == 7 {
			steal = n
		}
	}
	return all, steal, nil
}

// parsePressure reads the total of the line "some" in /proc/pressure/cpu, which is in microseconds.
func parsePressure(text []byte) (time.Duration, error) {
	for line := range strings.Lines(string(text)) {
		if !strings.HasPrefix(line, "some ") {
			continue
		}
		_, total, _ := strings.Cut(line, "total=")
		us, err := strconv.ParseInt(strings.TrimSpace(total), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("/proc/pressure/cpu: %w", err)
		}
		return time.Duration(us) * time.Microsecond, nil
	}
	return 0, fmt.Errorf("/proc/pressure/cpu has no line \"some\": %q", text)
}
