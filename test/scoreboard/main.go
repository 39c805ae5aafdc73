// Scoreboard breaks clusters in every way it knows, has `tracer diagnose` say what is wrong, and counts how often it is
// right. It also builds healthy ones, of which nothing may be said.
//
//	go run ./test/scoreboard                       # all of this kernel's scenarios, with a seed of its own
//	go run ./test/scoreboard -run 'qdisc' -seed 7  # some, as they were with that seed
//	go run ./test/scoreboard -list
//
// Each scenario is a file in scenarios/, which says what is built, what is broken and what must be found. Of the diagnosis
// nothing but the causes' names is known here: a report is read as anybody would read it.
package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/lab"
	"tracer/test/steady"
)

//go:embed scenarios
var scenarioFiles embed.FS

type options struct {
	tracer   string
	where    string
	run      string
	seed     uint64
	seeds    int
	window   time.Duration
	parallel int
	logs     string
	list     bool
	kernel   string
	guests   int
	share    share
	json     bool
	report   string
}

func main() {
	var o options
	flag.StringVar(&o.tracer, "tracer", "build/tracer", "the program to be judged")
	flag.StringVar(&o.where, "where", "", "host or guest: play what can be played there (by itself host: what a guest's scenarios change is the whole machine)")
	flag.StringVar(&o.run, "run", "", "play only scenarios whose names match")
	flag.Uint64Var(&o.seed, "seed", 0, "what names, addresses and sizes are drawn from (0: a new one, which is printed)")
	flag.IntVar(&o.seeds, "seeds", 5, "how often to play each healthy scenario, each time with another seed")
	flag.DurationVar(&o.window, "window", 15*time.Second, "how long tracer watches")
	flag.IntVar(&o.parallel, "parallel", 8, "how many labs at a time")
	flag.StringVar(&o.logs, "logs", "build/verdicts", "directory for what tracer said")
	flag.BoolVar(&o.list, "list", false, "say what there is, and play nothing")
	flag.StringVar(&o.kernel, "kernel", "", "play in guests with this kernel, of those that test/vm knows")
	flag.IntVar(&o.guests, "guests", min(runtime.NumCPU(), 4), "how many guests at a time; each takes one CPU and up to 1.5 GiB")
	flag.Var(&o.share, "share", "play only the i-th of n shares, as i/n")
	flag.BoolVar(&o.json, "json", false, "print a line of JSON for each run, as guests do")
	flag.StringVar(&o.report, "report", "", "a page whose part of this kernel is written anew: what was injected, and what was said")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scoreboard:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (ok bool, err error) {
	scenarios, err := loadScenarios(scenarioFiles)
	if err != nil {
		return false, err
	}
	if o.list {
		for _, s := range scenarios {
			fmt.Printf("%-28s %-12s %s\n", s.Name, joinWords(s.Where), s.About)
		}
		return true, nil
	}
	if o.report != "" && (o.run != "" || o.share.n > 0) {
		return false, errors.New("-report is of all scenarios: give no -run and no -share")
	}
	match, err := regexp.Compile(o.run)
	if err != nil {
		return false, fmt.Errorf("-run: %w", err)
	}
	switch {
	case o.kernel != "":
		o.where = Guest
	case o.where == "":
		o.where = Host
	case o.where == Guest && !steady.InGuest():
		return false, errors.New("-where guest: its scenarios set the machine's clock and its limits, so they are played in guests alone: give -kernel")
	}
	if o.tracer, err = filepath.Abs(o.tracer); err != nil {
		return false, err
	}
	if _, err := os.Stat(o.tracer); err != nil {
		return false, fmt.Errorf("%w: build it with `make build`, or give -tracer", err)
	}
	if err := os.MkdirAll(o.logs, 0o755); err != nil {
		return false, err
	}
	if o.seed == 0 {
		o.seed = rand.Uint64N(1e6) + 1
	}
	var runs []playing
	for _, s := range scenarios {
		if !s.canRun(o.where) || !match.MatchString(s.Name) {
			continue
		}
		if o.where == Host && s.Topology.Overlay == "" {
			s.Topology.Overlay = lab.VXLAN // which every kernel has
		}
		if _, err := os.Stat(s.Needs); s.Needs != "" && err != nil {
			fmt.Fprintf(os.Stderr, "%s is not played: this kernel has no %s\n", s.Name, s.Needs)
			continue
		}
		runs = append(runs, s.playings(o.seed, o.seeds)...)
	}
	if len(runs) == 0 {
		return false, fmt.Errorf("no scenario for %s matches %q: see -list", o.where, o.run)
	}
	if runs = o.share.of(runs); o.json {
		stage := stage{options: o, started: time.Now()}
		stage.playAll(ctx, runs)
		return true, context.Cause(ctx)
	}
	kernel, at := release(), fmt.Sprintf("%d labs at a time", o.parallel)
	if o.kernel != "" {
		kernel, at = o.kernel, fmt.Sprintf("%d guests, %d labs at a time in each", o.guests, o.parallel)
	}
	fmt.Printf("%s, kernel %s, seed %d, %d runs, %s\n\n", o.where, kernel, o.seed, len(runs), at)
	started := time.Now()
	var results []result
	if o.kernel != "" {
		// One that fails does not hide what the other has seen.
		results, err = playInGuests(ctx, o, runs)
	} else {
		stage := stage{options: o, started: started}
		results = stage.playAll(ctx, runs)
	}
	if err := context.Cause(ctx); err != nil {
		return false, err
	}
	for _, r := range results {
		if err := os.WriteFile(filepath.Join(o.logs, r.Run+".json"), r.Report, 0o644); err != nil {
			return false, err
		}
	}
	score := count(results)
	writeTable(os.Stdout, results)
	fmt.Printf("\nin %v\n", time.Since(started).Round(time.Second))
	score.write(os.Stdout)
	if o.report != "" {
		var part bytes.Buffer
		fmt.Fprintf(&part, "Kernel %s, seed %d, %d runs; each healthy scenario with %d seeds.\n\n", kernel, o.seed, len(results), o.seeds)
		writeConfusion(&part, results)
		fmt.Fprint(&part, "\n")
		score.write(&part)
		err = errors.Join(err, renewConfusion(o.report, reportHeading(o.where, kernel), part.Bytes()))
	}
	return score.ok(), err
}

// reportHeading names a part of the report. Kernels of the host come and go, those of guests are several at a time.
func reportHeading(where, kernel string) string {
	if where == Guest {
		return "In guests, " + kernel
	}
	return "Here"
}

func release() string {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return "unknown"
	}
	return unix.ByteSliceToString(u.Release[:])
}
