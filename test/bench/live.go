package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/device"
	"tracer/internal/lab"
	"tracer/internal/loader"
	"tracer/internal/record"
)

// liveProgram is what a program costs under real traffic, where caches are cold: by the kernel's statistics of run
// time, less those of an empty program in the same places in the same round. Most of the latter is the statistics' own.
type liveProgram struct {
	Workload  string   `json:"workload"`
	Program   string   `json:"program"`
	EmptyNs   float64  `json:"empty_ns"`
	Unsampled liveCost `json:"unsampled"`
	Sampled   liveCost `json:"sampled"`
}

// liveCost is that of one run: the median of the rounds, and the width of their middle half.
type liveCost struct {
	Ns     float64 `json:"ns"`
	Spread float64 `json:"spread"`
	bounds
	Limit *float64 `json:"limit"`
}

// everyProgram stands for all programs of a node together, by how often each ran.
const everyProgram = "all of them"

// liveLimits are those of everyProgram, in ns.
var liveLimits = map[string]struct{ unsampled, sampled float64 }{
	smallUDP: {20, 80},
	bulkTCP:  {40, 130},
}

// withSum gives the statistics by program, with the sum as everyProgram's.
func withSum(list []loader.ProgramStats) map[string]loader.ProgramStats {
	all := map[string]loader.ProgramStats{}
	var sum loader.ProgramStats
	for _, s := range list {
		all[s.Program] = s
		sum.Runs, sum.Seconds = sum.Runs+s.Runs, sum.Seconds+s.Seconds
	}
	all[everyProgram] = sum
	return all
}

// watched is a node whose programs can be asked what they took.
type watched interface {
	stats() (map[string]loader.ProgramStats, error)
	io.Closer
}

// measureLive has the packets of the node that sends seen by empty programs, by the tracer's when it follows none of
// them, and when it follows all; and so in each round.
func measureLive(ctx context.Context, o *overlay, rounds int, watch time.Duration) (_ []liveProgram, err error) {
	statistics, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return nil, fmt.Errorf("have the kernel time programs: %w", err)
	}
	defer func() { err = errors.Join(err, statistics.Close()) }()
	type key struct {
		workload, program string
	}
	var times [3]map[key][]float64 // by state
	states := [len(times)]func() (watched, error){
		func() (watched, error) { return attachEmpty(o.Node(1), everywhere) },
		func() (watched, error) { return loadTracer(ctx, o, o.Node(1), never) },
		func() (watched, error) { return loadTracer(ctx, o, o.Node(1), 1) },
	}
	for i := range times {
		times[i] = map[key][]float64{}
	}
	var loads []workload
	for _, w := range kinds() {
		if _, ok := liveLimits[w.name]; ok {
			loads = append(loads, w)
		}
	}
	for range rounds {
		for i, start := range states {
			if err := runWatched(ctx, o, loads, watch, start, func(workload, program string, ns float64) {
				k := key{workload, program}
				times[i][k] = append(times[i][k], ns)
			}); err != nil {
				return nil, err
			}
		}
	}
	var programs []liveProgram
	for _, w := range loads {
		for _, k := range slices.SortedFunc(maps.Keys(times[0]), func(a, b key) int { return cmpPrograms(a.program, b.program) }) {
			if k.workload != w.name || len(times[0][k]) != rounds || len(times[1][k]) != rounds || len(times[2][k]) != rounds {
				continue // too seldom run to say anything
			}
			p := liveProgram{Workload: w.name, Program: k.program, EmptyNs: tenths(quartilesOf(slices.Clone(times[0][k])).median)}
			p.Unsampled, p.Sampled = newLiveCost(times[0][k], times[1][k]), newLiveCost(times[0][k], times[2][k])
			if k.program == everyProgram {
				limits := liveLimits[w.name]
				p.Unsampled.Limit, p.Sampled.Limit = &limits.unsampled, &limits.sampled
			}
			programs = append(programs, p)
		}
	}
	return programs, nil
}

// enough is how often the programs must have run, all together, for their times to tell anything.
const enough = 20_000

// cmpPrograms puts the sum last.
func cmpPrograms(a, b string) int {
	switch {
	case a == b:
		return 0
	case a == everyProgram || b != everyProgram && a > b:
		return 1
	default:
		return -1
	}
}

func newLiveCost(empty, ours []float64) liveCost {
	less := make([]float64, len(ours))
	for round := range ours {
		less[round] = ours[round] - empty[round]
	}
	q := quartilesOf(less)
	return liveCost{Ns: tenths(q.median), Spread: tenths(q.spread()), bounds: boundsOf(less)}
}

// runWatched gives what one run of each program took, in each workload.
func runWatched(ctx context.Context, o *overlay, loads []workload, watch time.Duration, start func() (watched, error),
	take func(workload, program string, ns float64)) (err error) {
	w, err := start()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.Close()) }()
	for i := range loads {
		before, err := w.stats()
		if err != nil {
			return err
		}
		sum := before[everyProgram]
		after := before
		// On a busy machine one run may not be enough.
		for tries := 0; sum.Runs-before[everyProgram].Runs < enough && tries < 20; tries++ {
			if _, err := loads[i].run(ctx, o, watch); err != nil {
				return err
			}
			if after, err = w.stats(); err != nil {
				return err
			}
			sum = after[everyProgram]
		}
		for name, s := range after {
			// Few runs are those of the lab's own load and of a connection's set-up.
			if n := s.Runs - before[name].Runs; n >= enough/20 {
				take(loads[i].name, name, (s.Seconds-before[name].Seconds)*1e9/float64(n))
			}
		}
	}
	return nil
}

// tracing are the tracer's programs in a node, with a reader that throws away what they send.
type tracing struct {
	*loader.Loader
	ended chan error
}

// loadTracer follows one packet in n.
func loadTracer(ctx context.Context, o *overlay, node lab.Node, n uint32) (_ *tracing, err error) {
	t := &tracing{ended: make(chan error, 1)}
	err = node.Do(func() error {
		watcher, err := device.NewWatcher(device.Options{})
		if err != nil {
			return err
		}
		defer watcher.Close()
		if t.Loader, err = loader.New(loader.Options{Dir: o.dir, ConsumeCalm: time.Nanosecond}); err != nil {
			return err
		}
		state := watcher.State()
		// Twice: what a start alone has is gone then.
		return errors.Join(t.SetDevices(state.Devices, state.Addresses), t.SetDevices(state.Devices, state.Addresses), t.BeginEpoch(n, 0, 0))
	})
	if err != nil {
		if t.Loader != nil {
			err = errors.Join(err, t.Loader.Close())
		}
		return nil, fmt.Errorf("trace %s: %w", node.Name, err)
	}
	go func() { t.ended <- t.Run(ctx, func([]record.Record) {}) }()
	return t, nil
}

func (t *tracing) stats() (map[string]loader.ProgramStats, error) {
	list, err := t.Programs()
	if err != nil {
		return nil, err
	}
	return withSum(list), nil
}

// Close takes the programs out, and ends the reader.
func (t *tracing) Close() error { return errors.Join(t.Loader.Close(), <-t.ended) }
