package steady

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
)

// maxTries is how often something is measured at most.
const maxTries = 3

// T is a test's try at a measurement. Its errors count if the machine did not stand still meanwhile, or it was the last try.
type T struct {
	*testing.T
	mu       sync.Mutex
	errors   []string
	cleanups []func()
}

// Measure has f measure something, within bounds that hold on a machine that does not stand still. If f finds an error and
// the machine was disturbed more than the limits say, f is called again, at most three times in all.
func Measure(t *testing.T, limits Limits, f func(t *T)) {
	t.Helper()
	measure(t, limits, watch, f)
}

func measure(t *testing.T, limits Limits, watch func() (stop func() Disturbance), f func(t *T)) {
	t.Helper()
	for try := 1; ; try++ {
		one := &T{T: t}
		stop := watch()
		one.run(f)
		seen := stop()
		one.clean()
		if len(one.errors) == 0 {
			return
		}
		if try == maxTries || !seen.Over(limits) || t.Failed() {
			t.Errorf("%s\n(try %d; meanwhile %v)", strings.Join(one.errors, "\n"), try, seen)
			return
		}
		// test/run counts these lines.
		fmt.Printf("%s: measured again: %v\n", t.Name(), seen)
		t.Logf("try %d: %s", try, strings.Join(one.errors, "\n"))
	}
}

// run calls f on a goroutine of its own, which a fatal error ends.
func (t *T) run(f func(*T)) {
	done := make(chan any)
	go func() {
		finished := false
		defer func() {
			if p := recover(); p != nil || finished {
				done <- p
				return
			}
			done <- nil // by Goexit
		}()
		f(t)
		finished = true
	}()
	if p := <-done; p != nil {
		panic(p)
	}
}

func (t *T) clean() {
	for _, f := range slices.Backward(t.cleanups) {
		f()
	}
}

// Cleanup has f called at the end of this try.
func (t *T) Cleanup(f func()) { t.cleanups = append(t.cleanups, f) }

// Error notes an error of this try.
func (t *T) Error(args ...any) { t.note(strings.TrimSuffix(fmt.Sprintln(args...), "\n")) }

// Errorf notes an error of this try.
func (t *T) Errorf(format string, args ...any) { t.note(fmt.Sprintf(format, args...)) }

// Fatal notes an error and ends this try.
func (t *T) Fatal(args ...any) {
	t.Error(args...)
	runtime.Goexit()
}

// Fatalf notes an error and ends this try.
func (t *T) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

func (t *T) note(text string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errors = append(t.errors, text)
}
