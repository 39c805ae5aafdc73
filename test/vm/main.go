// Vm runs this repository's tests, or a command, or a shell, on another kernel: in an emulated machine that has
// nothing but an initramfs.
//
//	go run ./test/vm -kernel 5.10 ./internal/loader
//	go run ./test/vm -kernel 6.1 -command 'tracer demo -o json'
//	go run ./test/vm -kernel 7.2 -shell
//
// It exits 0 if all tests passed and none was skipped, or with the command's status.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"time"
)

type options struct {
	kernel   string
	shell    bool
	command  string
	run      string
	count    int
	timeout  time.Duration
	memory   int
	cache    string
	files    []string
	packages []string
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(2)
	}
	// qemu dies with the thread that started it.
	runtime.LockOSThread()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "vm: kernel %s: %v\n", o.kernel, err)
	}
	os.Exit(code)
}

func parse(args []string) (options, error) {
	var o options
	flags := flag.NewFlagSet("vm", flag.ExitOnError)
	flags.StringVar(&o.kernel, "kernel", "", "kernel of test/vm/kernels.txt")
	flags.BoolVar(&o.shell, "shell", false, "give a shell in the guest")
	flags.StringVar(&o.command, "command", "", "shell command to run in the guest instead of tests")
	flags.StringVar(&o.run, "run", "", "run only tests that match, as in go test")
	flags.IntVar(&o.count, "count", 1, "run each test so often")
	flags.DurationVar(&o.timeout, "timeout", 15*time.Minute, "limit for the whole job")
	flags.IntVar(&o.memory, "memory", 2048, "MiB of the guest")
	flags.StringVar(&o.cache, "cache", "", "directory for kernels (default: tracer/kernels in the user's cache)")
	flags.Func("file", "put this file into the guest's /usr/local/bin; may be repeated", func(name string) error {
		o.files = append(o.files, name)
		return nil
	})
	_ = flags.Parse(args)
	o.packages = flags.Args()
	switch {
	case o.kernel == "":
		return o, errors.New("give -kernel")
	case o.shell && o.command != "":
		return o, errors.New("give one of -shell and -command")
	case !o.shell && o.command == "" && len(o.packages) == 0:
		return o, errors.New("give packages, -command or -shell")
	}
	if o.cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			return o, fmt.Errorf("%w: give -cache", err)
		}
		o.cache = filepath.Join(dir, "tracer/kernels")
	}
	return o, nil
}

// run does what is wished and returns the exit status with what has to be said about it.
func run(ctx context.Context, o options) (int, error) {
	if runtime.GOARCH != "amd64" {
		return 1, fmt.Errorf("guests are amd64 and take programs of this machine, which is %s", runtime.GOARCH)
	}
	say := func(format string, args ...any) {
		fmt.Fprintf(os.Stderr, "vm: "+format+"\n", args...)
	}
	k, err := findKernel(o.kernel)
	if err != nil {
		return 1, err
	}
	work, err := os.MkdirTemp("", "tracer-vm-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(work)
	g, err := prepare(ctx, o, k, work, say)
	if err != nil {
		return 1, err
	}
	m := machine{kernel: g.image.vmlinuz(), initramfs: filepath.Join(work, "initramfs"), memory: o.memory}
	if err := g.write(ctx, m.initramfs); err != nil {
		return 1, err
	}
	say("booting %s", g.image.release)
	if o.shell {
		err := m.shell(ctx)
		return status(err), err
	}
	m.console = filepath.Join(work, "console")
	// A test's own time limit comes first and says where the test stands.
	ctx, cancel := context.WithTimeoutCause(ctx, o.timeout+time.Minute, fmt.Errorf("not done after %v", o.timeout+time.Minute))
	defer cancel()
	var r results
	start := time.Now()
	err = m.run(ctx, func(out io.Reader) error { return r.read(out, os.Stdout) })
	if errors.Is(err, context.Canceled) {
		return 130, errors.New("interrupted")
	}
	if err == nil {
		err = r.err()
	}
	console, readErr := os.ReadFile(m.console)
	if !r.ended {
		fmt.Fprintf(os.Stderr, "vm: the end of the kernel's messages:\n%s\n", tail(string(console), 60))
	}
	err = errors.Join(err, readErr, complaints(string(console)))
	say("kernel %s, %s: %d tests passed, %d failed, %d skipped, in %v", o.kernel, g.image.release,
		r.passed, len(r.failed), len(r.skipped), time.Since(start).Round(time.Second))
	if r.exit != 0 {
		return r.exit, err
	}
	return status(err), err
}

// prepare fetches the kernel and compiles what is to run on it.
func prepare(ctx context.Context, o options, k kernel, work string, say func(string, ...any)) (guest, error) {
	i, err := fetch(ctx, k, o.cache, say)
	if err != nil {
		return guest{}, fmt.Errorf("fetch it: %w", err)
	}
	g := guest{image: i, job: o.command, extra: o.files}
	if len(o.packages) > 0 {
		if g.suite, err = buildTests(ctx, work, o.packages); err != nil {
			return guest{}, err
		}
	}
	if !o.shell && o.command == "" {
		g.job = testJob(g.suite, o.run, o.count, o.timeout)
		return g, nil
	}
	program, err := buildProgram(ctx, work, "tracer/cmd/tracer")
	if err != nil {
		return guest{}, err
	}
	g.extra = append(g.extra, program)
	return g, nil
}

func status(err error) int {
	if err != nil {
		return 1
	}
	return 0
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

var complaint = regexp.MustCompile(`(?m)^.*(?:BUG:|Oops:|WARNING: |Kernel panic).*$`)

// complaints are the kernel's messages about faults of its own. A program that provokes one is not fit for anybody's
// node, whatever its tests say.
func complaints(console string) error {
	if found := complaint.FindAllString(console, -1); found != nil {
		return fmt.Errorf("the kernel complained: %s", strings.Join(found, "; "))
	}
	return nil
}
