// Command bench measures what tracing costs on this machine: nanoseconds of each hook and record, alone and under real
// traffic; what is left of the traffic's rate; CPU time and memory of an agent. It checks them against their limits.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"time"
)

type options struct {
	viewed bool
	sent   bool
	check  bool
	json   string
	docs   string
	be     string
	socket string
	plan
}

// plan is how long each part is measured.
type plan struct {
	rounds, repeat int           // of each hook alone
	live           int           // rounds of the programs' times under traffic
	traffic        time.Duration // for all rounds of traffic
	scale          time.Duration // for each agent of many
	growth         int           // pairs of agents
	watch          time.Duration // for the agent whose memory has a limit
	view           time.Duration // for the live view, five times with and without
	peer           *peer         // another tracer that takes its turn in the rounds of traffic; nil: none
}

func main() {
	var o options
	flag.BoolVar(&o.check, "check", false, "exit 1 if a limit is exceeded")
	flag.IntVar(&o.rounds, "rounds", 301, "how often each program is timed")
	flag.IntVar(&o.repeat, "repeat", 8_000, "runs of a program each time")
	flag.IntVar(&o.live, "live", 5, "rounds in which programs are timed under real traffic")
	flag.DurationVar(&o.traffic, "traffic", 100*time.Second, "how long traffic is sent with and without tracing, in all")
	flag.DurationVar(&o.scale, "scale", 3*time.Second, "how long each of the agents is watched that differ in flows and pods")
	flag.IntVar(&o.growth, "growth", 5, "pairs of agents with few and many flows and pods")
	flag.DurationVar(&o.watch, "watch", 75*time.Second, "how long the agent watches whose memory is measured; it keeps one minute")
	flag.DurationVar(&o.view, "view", 3*time.Second, "how long each of ten times is, in which the live view is measured")
	flag.StringVar(&o.json, "json", "build/bench.json", "file for the numbers")
	flag.StringVar(&o.docs, "docs", "", "page whose last run becomes this one, as docs/reports/overhead.md")
	flag.BoolVar(&o.viewed, "viewed", false, "measure the live view and the page alone, and print what they cost")
	flag.BoolVar(&o.sent, "sent", false, "measure the traffic alone, and print what is left of it")
	flag.StringVar(&o.be, "be", "", "be one of the benchmark's `other` processes (it starts these itself)")
	flag.StringVar(&o.socket, "socket", "", "the agent's, for the one of these that is its live view")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	if o.peer, err = peerOf(os.Getenv); err == nil {
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	switch {
	case os.Geteuid() != 0:
		return errors.New("it loads BPF programs and makes network namespaces: run it as root")
	case o.be == "agent":
		return beAgent(ctx)
	case o.be == "sender":
		return beSender(ctx)
	case o.be == "node-agent":
		return beNodeAgent(ctx)
	case o.be == "viewed":
		return beViewed(ctx)
	case o.be == "view":
		return beView(ctx, o.socket)
	case o.be == "page":
		return bePage(ctx, o.socket)
	case o.viewed:
		return printView(ctx, o)
	case o.sent:
		return printTraffic(ctx, o)
	case o.rounds < 1 || o.repeat < 1 || o.live < 1 || o.growth < 1:
		return errors.New("-rounds, -repeat, -live and -growth must be positive")
	}
	r, err := measure(ctx, o.plan, say)
	if err != nil {
		return err
	}
	if err := r.text(os.Stdout); err != nil {
		return err
	}
	if err := r.save(o.json); err != nil {
		return err
	}
	if o.docs != "" {
		if err := r.document(o.docs); err != nil {
			return err
		}
	}
	if o.check && len(r.Exceeded) > 0 {
		return fmt.Errorf("%d limits are exceeded", len(r.Exceeded))
	}
	return nil
}

// say tells what is being done.
func say(format string, values ...any) { fmt.Fprintf(os.Stderr, "bench: "+format+"\n", values...) }

// printTraffic measures what is left of the traffic alone.
func printTraffic(ctx context.Context, o options) (err error) {
	lab, err := newOverlay(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lab.Close()) }()
	var r report
	if r.Machine, err = thisMachine(); err != nil {
		return err
	}
	if r.Traffic, err = measureTraffic(ctx, lab, o.peer, trafficWatch, o.traffic, say); err != nil {
		return err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\n", r.Machine)
	r.trafficText(&b)
	_, err = b.WriteTo(os.Stdout)
	return err
}

// printView measures the live view and the page alone.
func printView(ctx context.Context, o options) error {
	cost, err := measureView(ctx, o.view)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(os.Stdout).Encode(cost); err != nil {
		return fmt.Errorf("print the cost: %w", err)
	}
	if limits := cost.exceeded(); o.check && len(limits) > 0 {
		return errors.New(strings.Join(limits, "; "))
	}
	return nil
}

// measure does one part after another: none is to slow another one down.
func measure(ctx context.Context, p plan, say func(string, ...any)) (r *report, err error) {
	r = &report{Repeat: p.repeat}
	if r.Machine, err = thisMachine(); err != nil {
		return nil, err
	}
	if r.Machine.Load > 0.5 {
		say("this machine has other things to do (load %.1f): the numbers will be noisy", r.Machine.Load)
	}
	say("Go's benchmarks")
	if r.Go, err = measureGo(ctx); err != nil {
		return nil, err
	}
	say("each hook alone")
	if err := r.measurePrograms(p); err != nil {
		return nil, err
	}
	if err := r.measureOverlay(ctx, p, say); err != nil {
		return nil, err
	}
	say("agents, by what they see")
	if r.Agent.Scale, err = measureScale(ctx, scaleLoads(p.scale)); err != nil {
		return nil, err
	}
	if r.Agent.Growth, err = measureGrowth(ctx, p.growth, p.scale*2/3); err != nil {
		return nil, err
	}
	long := longLoad(p.watch)
	say("an agent watches %d flows for %v", long.Flows, p.watch)
	if r.Agent.Long, r.Memory, err = measureAgent(ctx, long); err != nil {
		return nil, err
	}
	say("it is viewed, %d times for %v", viewRounds, p.view)
	if r.View, err = measureView(ctx, p.view); err != nil {
		return nil, err
	}
	r.judge()
	return r, nil
}

func (r *report) measurePrograms(p plan) error {
	kernel, err := newRunner()
	if err != nil {
		return err
	}
	list := scenarios(&kernel.objects, newPackets())
	times, err := kernel.measure(list, p.rounds, p.repeat)
	if err := errors.Join(err, kernel.Close()); err != nil {
		return err
	}
	r.setPrograms(list, times)
	return nil
}

// trafficWatch is how long each workload is sent at a time.
const trafficWatch = 300 * time.Millisecond

func (r *report) measureOverlay(ctx context.Context, p plan, say func(string, ...any)) (err error) {
	o, err := newOverlay(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, o.Close()) }()
	say("each program under traffic through an overlay")
	if r.Live, err = measureLive(ctx, o, p.live, trafficWatch); err != nil {
		return err
	}
	say("the traffic itself, for %v", p.traffic)
	r.Traffic, err = measureTraffic(ctx, o, p.peer, trafficWatch, p.traffic, say)
	return err
}
