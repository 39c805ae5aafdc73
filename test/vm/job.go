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
	"strconv"
	"strings"
	"time"
)

// job is what is run on each kernel, compiled once for all of them.
type job struct {
	script   string   // none: a shell on the console
	suite    []binary // test binaries
	programs []string // for /usr/local/bin
	// limit is how long the job may take, by the guest's clock. Test binaries know a shorter one, and say where they stand.
	limit time.Duration
}

func newJob(ctx context.Context, o options, work string) (job, error) {
	j := job{script: o.command, programs: o.files, limit: o.timeout}
	if len(o.packages) > 0 {
		var err error
		if j.suite, err = buildTests(ctx, work, o.arch, o.packages); err != nil {
			return job{}, err
		}
	}
	if !o.shell && o.command == "" && o.lines == "" {
		j.script = testJob(j.suite, o.run, o.skip, o.count, o.timeout)
		j.limit = time.Duration(len(j.suite))*o.timeout + time.Minute
		return j, nil
	}
	program, err := buildProgram(ctx, work, o.arch, "tracer/cmd/tracer")
	j.programs = append(j.programs, program)
	return j, err
}

// maxAgain is how many tests of a kernel may run again: where more fail, something else is wrong.
const maxAgain = 3

// run runs the job on a kernel, and what few tests have not passed once more, on another machine: an emulated CPU may give a
// test no time just where it measures. What a test finds on two machines counts. Nothing runs again where one ended its package, by a
// panic or a timeout: others have not run. What the job prints goes to w, what it comes to into r.
func (j job) run(ctx context.Context, o options, k kernel, work string, r *results, w io.Writer) error {
	// qemu dies with the thread that started it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	i, err := fetch(ctx, k, o.cache)
	if err != nil {
		return fmt.Errorf("fetch it: %w", err)
	}
	programs, err := sysrootFor(ctx, k.arch, o.cache)
	if err != nil {
		return fmt.Errorf("fetch tools for it: %w", err)
	}
	m := machine{board: boards[k.arch], kernel: i.vmlinuz(), initramfs: filepath.Join(work, k.id()+".initramfs"), memory: o.memory, cpuLater: k.cpuLater}
	g := guest{image: i, sysroot: programs, job: j}
	if err := g.write(m.initramfs); err != nil {
		return err
	}
	say("booting %s", i.release)
	if o.shell {
		return m.shell(ctx)
	}
	m.console = filepath.Join(work, k.id()+".console")
	start := time.Now()
	defer func() {
		say("kernel %s, %s: %d tests passed, %d failed, %d skipped, in %v (%v of CPU)", k.id(), i.release,
			len(r.passed), len(r.failed), len(r.skipped), time.Since(start).Round(time.Second), r.cpu.Round(time.Second))
	}()
	err = j.once(ctx, m, r, w)
	if errors.Is(err, errEmulator) {
		say("kernel %s: started again: %v", k.id(), err)
		*r = results{begins: r.begins, cpu: r.cpu}
		err = j.once(ctx, m, r, w)
	}
	again := r.unproven
	if err == nil || len(again) == 0 || len(again) > maxAgain || !r.ended || r.exit > 1 || errors.Is(err, errComplaint) {
		return err
	}
	say("kernel %s: %v", k.id(), err)
	say("kernel %s: runs again: %s", k.id(), strings.Join(again, ", "))
	*r = results{begins: r.begins, cpu: r.cpu, passed: r.passed}
	g.job.script = testJob(j.suite, "^("+strings.Join(again, "|")+")$", o.skip, 1, o.timeout)
	if err := g.write(m.initramfs); err != nil {
		return err
	}
	return j.once(ctx, m, r, w)
}

// once runs the job in one machine.
func (j job) once(ctx context.Context, m machine, r *results, w io.Writer) error {
	cpu, err := m.run(ctx, func(out io.Reader) error { return r.read(out, w) })
	r.cpu += cpu
	if errors.Is(err, context.Canceled) {
		return err
	}
	if err == nil {
		err = r.err()
	}
	console, readErr := os.ReadFile(m.console)
	if !r.ended {
		fmt.Fprintf(w, "the end of the kernel's messages:\n%s\n", tail(withoutSigns(string(console)), 60))
	}
	return errors.Join(err, readErr, complaints(string(console)))
}

// withoutSigns leaves out what init says to show that the guest lives.
func withoutSigns(console string) string {
	var b strings.Builder
	for line := range strings.Lines(console) {
		if !strings.Contains(line, "guest: alive") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

var complaint = regexp.MustCompile(`(?m)^.*(?:BUG:|Oops:|WARNING: |Kernel panic).*$`)

var errComplaint = errors.New("the kernel complained")

// errEmulator is QEMU's fault: QEMU 7.2 now and then gives the guest's CPU flags that it did not have. It shows as a debug exception in the
// kernel, where nobody debugs, if the trap flag is among them, or as an oops with flags that no CPU has; what happens then means nothing.
// No program of ours can cause it.
var errEmulator = errors.New("the emulated CPU has flags that nobody set")

var debugException = regexp.MustCompile(`(?m)^.*WARNING: .* exc_debug_kernel\+`)

var flags = regexp.MustCompile(`EFLAGS: ([0-9a-f]{8})`)

// hasImpossibleFlags tells whether the first oops has flags above bit 21 (ID), the highest that there is: Intel's manual, volume 1, 3.4.3.
func hasImpossibleFlags(console string) bool {
	found := flags.FindStringSubmatch(console)
	if found == nil {
		return false
	}
	n, err := strconv.ParseUint(found[1], 16, 32)
	return err == nil && n>>22 != 0
}

// complaints are the kernel's messages about faults of its own. A program that provokes one is not fit for anybody's
// node, whatever its tests say.
func complaints(console string) error {
	if first := complaint.FindString(console); first != "" && (debugException.MatchString(first) || hasImpossibleFlags(console)) {
		return fmt.Errorf("%w: %s", errEmulator, first)
	}
	if found := complaint.FindAllString(console, -1); found != nil {
		return fmt.Errorf("%w: %s", errComplaint, strings.Join(found, "; "))
	}
	return nil
}
