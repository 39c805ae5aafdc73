package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"
)

// outcome is what came of a part.
type outcome struct {
	part
	counts
	took time.Duration
	err  error
}

// running is a part that has been started.
type running interface {
	wait() (counts, error)
	hurry() // others wait for it
}

// schedule runs parts one after the other in the foreground, and beside it, at low priority, those that may be there, also
// one after the other: each of them takes all CPUs that it gets. What is to run alone comes last.
type schedule struct {
	parts []part
	print io.Writer
	start func(ctx context.Context, p part, w io.Writer) (running, error)
}

// The states of a part.
const (
	waits = iota
	runs
	ended
)

// run runs all parts, and returns what came of them in their order.
func (s *schedule) run(ctx context.Context) []outcome {
	all := make([]outcome, len(s.parts))
	state := make([]int, len(s.parts))
	jobs := make([]running, len(s.parts))
	ends := make(chan int)
	for i, p := range s.parts {
		all[i].part = p
	}
	active := func(beside bool) bool {
		return slices.ContainsFunc(s.indices(), func(i int) bool { return state[i] == runs && s.parts[i].beside == beside })
	}
	for {
		for i, p := range s.parts {
			before := slices.IndexFunc(s.parts, func(b part) bool { return b.name == p.after })
			switch {
			case state[i] != waits || active(p.beside) || before >= 0 && state[before] != ended || p.alone && s.othersLeft(state):
			case ctx.Err() != nil:
				all[i].err, state[i] = context.Cause(ctx), ended
			case before >= 0 && all[before].err != nil:
				all[i].err, state[i] = fmt.Errorf("not run, as %s failed", p.after), ended
				s.tell(&all[i])
			default:
				state[i] = runs
				began := time.Now()
				fmt.Fprintf(s.print, "== %s %s: %s\n", began.Format(time.TimeOnly), p.name, p.about)
				var err error
				if jobs[i], err = s.start(ctx, p, s.print); err != nil {
					all[i].err, state[i] = err, ended
					s.tell(&all[i])
					continue
				}
				go func() {
					all[i].counts, all[i].err = jobs[i].wait()
					all[i].took = time.Since(began)
					ends <- i
				}()
			}
		}
		if !slices.Contains(state, waits) && !slices.Contains(state, runs) {
			return all
		}
		if !slices.Contains(state, runs) {
			continue // what waited for one that did not start
		}
		if !active(false) {
			for i := range jobs {
				if state[i] == runs {
					jobs[i].hurry()
				}
			}
		}
		i := <-ends
		state[i] = ended
		s.tell(&all[i])
	}
}

// othersLeft tells whether a part that need not be alone has not ended.
func (s *schedule) othersLeft(state []int) bool {
	return slices.ContainsFunc(s.indices(), func(i int) bool { return !s.parts[i].alone && state[i] != ended })
}

func (s *schedule) indices() []int {
	all := make([]int, len(s.parts))
	for i := range all {
		all[i] = i
	}
	return all
}

func (s *schedule) tell(o *outcome) {
	how := "passed"
	if o.err != nil {
		how = fmt.Sprintf("FAILED (%v)", o.err)
	}
	fmt.Fprintf(s.print, "== %s %s: %s in %.0f s\n", time.Now().Format(time.TimeOnly), o.name, how, o.took.Seconds())
}
