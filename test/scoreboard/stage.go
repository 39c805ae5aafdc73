package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// stage is where scenarios are played, several at a time.
type stage struct {
	options
	started time.Time
	excused atomic.Int32 // runs that were played again as the machine stood still
}

// maxTries is how often a run is played at most: on a machine that others use too a load may come to nothing, or a fault.
// Where tracer is wrong about a run that was played as it should, it is asked again only if the machine stood still meanwhile.
const maxTries = 3

// maxExcused is how often that may be so of all runs: where it is more often, something else is wrong.
const maxExcused = 6

// playAll plays all runs: first those that may be played beside others, then the others one by one.
func (s *stage) playAll(ctx context.Context, runs []playing) []result {
	results := make([]result, len(runs))
	var together, heavy, alone []int
	for i, p := range runs {
		switch {
		case p.Alone:
			alone = append(alone, i)
		case p.Heavy:
			heavy = append(heavy, i)
		default:
			together = append(together, i)
		}
	}
	// Runs of one scenario are alike: those of others beside them spread the work more evenly.
	slices.SortStableFunc(together, func(x, y int) int { return cmp.Compare(runs[x].Turn, runs[y].Turn) })
	play := func(i int) {
		results[i] = s.play(ctx, runs[i])
		s.say(&results[i])
		if s.json {
			if err := printJSON(&results[i]); err != nil {
				fmt.Fprintln(os.Stderr, "scoreboard:", err)
			}
		}
	}
	each := func(turns <-chan int) {
		for i := range turns {
			if ctx.Err() == nil {
				play(i)
			}
		}
	}
	var group sync.WaitGroup
	first, rest := queue(heavy), queue(together)
	group.Go(func() {
		each(first)
		each(rest)
	})
	for range s.parallel - 1 {
		group.Go(func() { each(rest) })
	}
	group.Wait()
	each(queue(alone))
	return results
}

// play plays a run, and again if it was not played as it should, or tracer is wrong while the machine stood still.
func (s *stage) play(ctx context.Context, run playing) result {
	for try := 1; ; try++ {
		p := &play{playing: run, tracer: s.tracer, window: s.window, logs: s.logs}
		o := p.run(ctx)
		o.tries = try
		r := o.result()
		stoodStill := o.err == nil && !r.Right && o.stall.StoodStill()
		notPlayed := o.err != nil && !errors.Is(o.err, errTracer)
		if !stoodStill && !notPlayed || try == maxTries || ctx.Err() != nil || stoodStill && s.excused.Add(1) > maxExcused {
			return r
		}
		s.say(&r)
		if stoodStill {
			fmt.Fprintf(os.Stderr, "       the machine stood still: a thread woke up %v late, %.1f %% of CPU time was stolen\n",
				o.stall.Late.Round(time.Millisecond), 100*o.stall.Steal)
		}
	}
}

// queue hands out runs to whoever is free.
func queue(runs []int) <-chan int {
	q := make(chan int, len(runs))
	for _, i := range runs {
		q <- i
	}
	close(q)
	return q
}

// say prints how far we are, if a person waits for it.
func (s *stage) say(r *result) {
	fmt.Fprintf(os.Stderr, "%5.0fs %-32s %s\n", time.Since(s.started).Seconds(), r.Run, r.mark())
	if r.Error != "" {
		fmt.Fprintf(os.Stderr, "       %s\n", r.Error)
	}
}
