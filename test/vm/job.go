package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"
)

// job is what is run on each kernel, compiled once for all of them.
type job struct {
	script   string   // none: a shell on the console
	suite    []binary // test binaries
	programs []string // for /usr/local/bin
}

func newJob(ctx context.Context, o options, work string) (job, error) {
	j := job{script: o.command, programs: o.files}
	if len(o.packages) > 0 {
		var err error
		if j.suite, err = buildTests(ctx, work, o.packages); err != nil {
			return job{}, err
		}
	}
	if !o.shell && o.command == "" {
		j.script = testJob(j.suite, o.run, o.skip, o.count, o.timeout)
		return j, nil
	}
	program, err := buildProgram(ctx, work, "tracer/cmd/tracer")
	j.programs = append(j.programs, program)
	return j, err
}

// run runs the job on a kernel. What it prints goes to w, what it comes to into r.
func (j job) run(ctx context.Context, o options, k kernel, work string, r *results, w io.Writer) error {
	// qemu dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	i, err := fetch(ctx, k, o.cache, say)
	if err != nil {
		return fmt.Errorf("fetch it: %w", err)
	}
	m := machine{kernel: i.vmlinuz(), initramfs: filepath.Join(work, k.name+".initramfs"), memory: o.memory}
	if err := (guest{image: i, job: j}).write(ctx, m.initramfs); err != nil {
		return err
	}
	say("booting %s", i.release)
	if o.shell {
		return m.shell(ctx)
	}
	m.console = filepath.Join(work, k.name+".console")
	start := time.Now()
	cpu, err := j.boot(ctx, o, m, r, w)
	say("kernel %s, %s: %d tests passed, %d failed, %d skipped, in %v (%v of CPU)", k.name, i.release,
		len(r.passed), len(r.failed), len(r.skipped), time.Since(start).Round(time.Second), cpu.Round(time.Second))
	names := r.unlucky()
	if err == nil || len(names) == 0 || errors.Is(err, errComplaint) {
		return err
	}
	say("kernel %s: once more, by themselves: %s", k.name, strings.Join(names, ", "))
	j.script = retryJob(j.suite, names, o.timeout)
	if err := (guest{image: i, job: j}).write(ctx, m.initramfs); err != nil {
		return err
	}
	var again results
	if _, err := j.boot(ctx, o, m, &again, w); err != nil {
		return fmt.Errorf("twice: %w", err)
	}
	for _, name := range names {
		if !again.passed[name] {
			return fmt.Errorf("%s failed, and did not run again", name)
		}
	}
	say("kernel %s: passed", k.name)
	return nil
}

// boot lets a machine do the job, and says what is wrong with that.
func (j job) boot(ctx context.Context, o options, m machine, r *results, w io.Writer) (cpu time.Duration, err error) {
	cpu, err = j.try(ctx, o, m, r, w)
	for range 2 {
		if errors.Is(err, errFast) {
			say("%s has mistaken its clock's frequency: booting again", filepath.Base(m.kernel))
			*r = results{}
			cpu, err = j.try(ctx, o, m, r, w)
		}
	}
	if errors.Is(err, context.Canceled) {
		return cpu, err
	}
	if err == nil {
		err = r.err()
	}
	console, readErr := os.ReadFile(m.console)
	if !r.ended {
		fmt.Fprintf(w, "the end of the kernel's messages:\n%s\n", tail(string(console), 60))
	}
	return cpu, errors.Join(err, readErr, complaints(string(console)))
}

// try boots a machine and lets the job run on it.
func (j job) try(ctx context.Context, o options, m machine, r *results, w io.Writer) (cpu time.Duration, err error) {
	// A test's own time limit comes first and says where the test stands.
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout+time.Minute, fmt.Errorf("not done after %v", o.timeout+time.Minute))
	defer cancel()
	ctx, end := context.WithCancelCause(ctx)
	defer end(nil)
	return m.run(ctx, func(out io.Reader) error {
		err := r.read(out, w)
		if errors.Is(err, errFast) {
			end(err)
		}
		return err
	})
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

var complaint = regexp.MustCompile(`(?m)^.*(?:BUG:|Oops:|WARNING: |Kernel panic).*$`)

var errComplaint = errors.New("the kernel complained")

// complaints are the kernel's messages about faults of its own. A program that provokes one is not fit for anybody's
// node, whatever its tests say.
func complaints(console string) error {
	if found := complaint.FindAllString(console, -1); found != nil {
		return fmt.Errorf("%w: %s", errComplaint, strings.Join(found, "; "))
	}
	return nil
}
