// Vm runs this repository's tests, or a command, or a shell, on other kernels: each in an emulated machine that has
// nothing but an initramfs.
//
//	go run ./test/vm -kernel 5.10 ./internal/loader
//	go run ./test/vm -kernel all -skip 'TestSlow|TestPure' ./internal/...
//	go run ./test/vm -kernel 6.1 -command 'tracer demo -o json'
//	go run ./test/vm -kernel 7.2 -shell
//	go run ./test/vm -arch arm64 -kernel 6.12-16k ./internal/loader
//	go run ./test/vm -kernel 6.12 -joined /tmp/pair
//
// It exits 0 if all tests passed and none was skipped, or with the command's status. Guests run on virtual time: how busy
// this machine is changes how long they take and not what they measure. On several kernels it runs as many at a time as
// there are CPUs, writes what they print to files, and shows what failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"
	"time"
)

type options struct {
	arch     string
	kernels  []kernel
	shell    bool
	command  string
	run      string
	skip     string
	count    int
	timeout  time.Duration
	memory   int
	cache    string
	logs     string
	lines    string
	parallel int
	files    []string
	packages []string
}

func main() {
	o, err := parse(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "vm:", err)
	}
	os.Exit(code)
}

func parse(args []string) (options, error) {
	var o options
	var names string
	flags := flag.NewFlagSet("vm", flag.ExitOnError)
	flags.StringVar(&o.arch, "arch", "amd64", "architecture of the machine: amd64 or arm64")
	flags.StringVar(&names, "kernel", "", "kernels of test/vm/kernels.txt, separated by commas, or all")
	flags.IntVar(&o.parallel, "parallel", runtime.NumCPU(), "how many at a time, of several kernels; each takes one CPU")
	flags.StringVar(&o.logs, "logs", "", "directory for what guests print (by itself build/guests of several kernels; one prints here)")
	flags.StringVar(&o.lines, "joined", "", "run two machines and a router between them until interrupted, with a unix socket for each in this directory that takes commands (see serve)")
	flags.BoolVar(&o.shell, "shell", false, "give a shell in the guest")
	flags.StringVar(&o.command, "command", "", "shell command to run in the guest instead of tests")
	flags.StringVar(&o.run, "run", "", "run only tests that match, as in go test")
	flags.StringVar(&o.skip, "skip", "", "leave out tests that match, as in go test")
	flags.IntVar(&o.count, "count", 1, "run each test so often")
	flags.DurationVar(&o.timeout, "timeout", 15*time.Minute, "limit for each package's tests, or the command, by the guest's clock")
	flags.IntVar(&o.memory, "memory", 1536, "MiB of the guest")
	flags.StringVar(&o.cache, "cache", "", "directory for kernels (default: tracer/kernels in the user's cache)")
	flags.Func("file", "put this file into the guest's /usr/local/bin; may be repeated", func(name string) error {
		o.files = append(o.files, name)
		return nil
	})
	_ = flags.Parse(args)
	o.packages = flags.Args()
	switch {
	case names == "":
		return o, errors.New("give -kernel")
	case o.shell && o.command != "":
		return o, errors.New("give one of -shell and -command")
	case !o.shell && o.command == "" && o.lines == "" && len(o.packages) == 0:
		return o, errors.New("give packages, -command, -shell or -joined")
	}
	var err error
	if o.kernels, err = findKernels(o.arch, names); err != nil {
		return o, err
	}
	if (o.shell || o.lines != "") && len(o.kernels) > 1 {
		return o, errors.New("give one kernel for a shell or for joined machines")
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
	work, err := os.MkdirTemp("", "tracer-vm-")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(work)
	j, err := newJob(ctx, o, work)
	if err != nil {
		return 1, err
	}
	if o.lines != "" {
		return 0, runJoined(ctx, o, j, work)
	}
	if len(o.kernels) > 1 && o.logs == "" {
		o.logs = "build/guests"
	}
	if o.logs != "" {
		return matrix(ctx, o, j, work)
	}
	var r results
	k := o.kernels[0]
	err = j.run(ctx, o, k, work, &r, os.Stdout)
	switch {
	case errors.Is(err, context.Canceled):
		return 130, errors.New("interrupted")
	case err != nil:
		return max(1, r.exit), fmt.Errorf("kernel %s: %w", k.id(), err)
	}
	return 0, nil
}

func say(format string, args ...any) { fmt.Fprintf(os.Stderr, "vm: "+format+"\n", args...) }
