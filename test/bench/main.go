// Command bench measures what tracing costs on this machine: nanoseconds of each hook and record, as multiples of
// reading the clock, the memory in the kernel, and that of an agent. It checks them against their limits.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

type options struct {
	check  bool
	rounds int
	repeat int
	watch  time.Duration
	json   string
	agent  string
	viewed string
	view   string
	each   time.Duration
}

func main() {
	var o options
	flag.BoolVar(&o.check, "check", false, "exit 1 if a limit is exceeded")
	flag.IntVar(&o.rounds, "rounds", 301, "how often each program is timed")
	flag.IntVar(&o.repeat, "repeat", 10_000, "runs of a program each time")
	flag.DurationVar(&o.watch, "watch", 130*time.Second, "how long the agent watches whose memory is measured; it keeps two minutes")
	flag.StringVar(&o.json, "json", "build/bench.json", "file for the numbers")
	flag.StringVar(&o.agent, "agent", "", "be that agent, with its files in this `directory` (the benchmark starts itself so)")
	flag.StringVar(&o.viewed, "viewed", "", "be an agent that is viewed, likewise")
	flag.StringVar(&o.view, "view", "", "be the live view of the agent on this `socket`, likewise")
	flag.DurationVar(&o.each, "each", 6*time.Second, "how long each of ten times is, in which the live view is measured")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	switch {
	case os.Geteuid() != 0:
		return errors.New("it loads BPF programs and makes network namespaces: run it as root")
	case o.agent != "":
		return beAgent(ctx, o.agent, o.watch)
	case o.viewed != "":
		return beViewed(ctx, o.viewed, o.watch)
	case o.view != "":
		return beView(ctx, o.view)
	case o.rounds < 1 || o.repeat < 1:
		return errors.New("-rounds and -repeat must be positive")
	}
	r, err := measure(ctx, o)
	if err != nil {
		return err
	}
	if err := r.text(os.Stdout); err != nil {
		return err
	}
	if err := save(r, o.json); err != nil {
		return err
	}
	if o.check && len(r.Exceeded) > 0 {
		return fmt.Errorf("%d limits are exceeded", len(r.Exceeded))
	}
	return nil
}

func measure(ctx context.Context, o options) (*report, error) {
	where, err := thisMachine()
	if err != nil {
		return nil, err
	}
	kernel, err := newRunner()
	if err != nil {
		return nil, err
	}
	defer kernel.Close()
	list := scenarios(&kernel.objects, newPackets())
	times, err := kernel.measure(list, o.rounds, o.repeat)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "bench: the hooks are timed; now an agent watches %d flows for %v\n", flows, o.watch)
	m, err := measureMemory(ctx, o.watch)
	if err != nil {
		return nil, err
	}
	fmt.Fprintf(os.Stderr, "bench: now it is viewed, %d times for %v\n", viewRounds, o.each)
	v, err := measureView(ctx, o.each)
	if err != nil {
		return nil, err
	}
	r := newReport(list, times, m, v)
	r.Machine, r.Repeat = where, o.repeat
	return &r, nil
}

// save writes the numbers to a file, whose directory it makes.
func save(r *report, name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("make the directory of %s: %w", name, err)
	}
	file, err := os.Create(name)
	if err != nil {
		return fmt.Errorf("save the numbers: %w", err)
	}
	if err := errors.Join(r.json(file), file.Close()); err != nil {
		return fmt.Errorf("save the numbers to %s: %w", name, err)
	}
	return nil
}
