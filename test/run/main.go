// Run runs this repository's tests, part by part, and says at the end what each part came to:
//
//	go run ./test/run here          # all that is proven on this kernel, and one guest
//	go run ./test/run more          # real Kubernetes, the kernel matrix, the guests' scoreboard, a release that is installed
//	go run ./test/run all           # both
//	go run ./test/run lint truth    # some parts
//	go run ./test/run -list
//
// What measures time on this kernel runs alone, in the foreground. What does not is beside it, at low priority: guests have
// virtual time. All of it runs in namespaces of its own (mounts, processes), which end with it, however it ends.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// logs is where parts' output goes.
const logs = "build/test"

func main() {
	list := flag.Bool("list", false, "say what there is, and run nothing")
	flag.Parse()
	if *list {
		for _, p := range parts {
			fmt.Printf("%-12s %s\n", p.name, p.about)
		}
		return
	}
	chosen, err := choose(flag.Args())
	if err == nil {
		err = preflight(chosen)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
		os.Exit(1)
	}
	switch os.Getenv(stage) {
	case "":
		os.Exit(isolate())
	case firstInside:
		os.Exit(reap())
	}
	ctx, stop := signal.NotifyContext(context.Background(), ends()...)
	ok, err := run(ctx, chosen)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "test:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

// run runs the parts and prints their table.
func run(ctx context.Context, chosen []part) (ok bool, err error) {
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return false, err
	}
	fmt.Println(machine())
	announce(os.Stdout, flag.Args(), chosen)
	s := schedule{parts: chosen, print: os.Stdout, start: start}
	began := time.Now()
	outcomes := s.run(ctx)
	writeFailures(os.Stdout, outcomes, logs)
	writeTable(os.Stdout, outcomes, time.Since(began))
	fmt.Println(machine())
	if ctx.Err() != nil {
		return false, context.Cause(ctx)
	}
	for _, o := range outcomes {
		if o.err != nil {
			return false, fmt.Errorf("failed: see the table above, and %s", filepath.Join(logs, "*.log"))
		}
	}
	return true, nil
}
