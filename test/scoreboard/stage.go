package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"
)

// stage is where scenarios are played, several at a time.
type stage struct {
	options
	started time.Time
}

// playAll plays all runs: first those that may be played beside others, then the others one by one.
func (s *stage) playAll(ctx context.Context, runs []playing) []outcome {
	outcomes := make([]outcome, len(runs))
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
		p := &play{playing: runs[i], tracer: s.tracer, window: s.window, logs: s.logs}
		outcomes[i] = p.run(ctx)
		s.say(outcomes[i])
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
	return outcomes
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

// say tells how far we are, where somebody waits for it.
func (s *stage) say(o outcome) {
	fmt.Fprintf(os.Stderr, "%5.0fs %-32s %s\n", time.Since(s.started).Seconds(), o, o.mark())
	if o.err != nil {
		fmt.Fprintf(os.Stderr, "       %v\n", o.err)
	}
}
