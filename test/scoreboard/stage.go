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
	var together, alone []int
	for i, p := range runs {
		if p.Alone {
			alone = append(alone, i)
		} else {
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
	turn := make(chan int)
	var group sync.WaitGroup
	for range max(1, s.parallel) {
		group.Go(func() {
			for i := range turn {
				play(i)
			}
		})
	}
	for _, i := range together {
		if ctx.Err() != nil {
			break
		}
		turn <- i
	}
	close(turn)
	group.Wait()
	for _, i := range alone {
		if ctx.Err() == nil {
			play(i)
		}
	}
	return outcomes
}

// say tells how far we are, where somebody waits for it.
func (s *stage) say(o outcome) {
	fmt.Fprintf(os.Stderr, "%5.0fs %-32s %s\n", time.Since(s.started).Seconds(), o, o.mark())
}
