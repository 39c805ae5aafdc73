package agent

import (
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/governor"
	"tracer/internal/record"
)

// steering holds what following packets costs to its limits. The reader's goroutine alone steers: should it stall, no
// epoch begins any more, and only a sample is followed.
type steering struct {
	governor *governor.Governor
	since    governor.Spent // since the last step
	stepped  time.Time
	cpu      time.Duration // of this process, when stepped
	ran      time.Duration // of the programs, when looked at
	lost     uint64        // journeys that found no room in the ring, when looked at
	looked   time.Time     // when it was asked for what takes some system calls to know
	changed  time.Duration // when the sampling in force began
	state    atomic.Pointer[Steering]
}

// Steering is how many packets are followed, and why not more.
type Steering struct {
	governor.Sampling
	// CPU is how many cores the agent and, where the kernel tells, its programs took lately.
	CPU float64
}

func (s *steering) start(limits governor.Limits) {
	if limits.MaxRecords == 0 {
		limits.MaxRecords = governor.DefaultMaxRecords
	}
	if limits.MaxCPU == 0 {
		limits.MaxCPU = governor.DefaultMaxCPU
	}
	s.governor = governor.New(limits)
	s.state.Store(&Steering{Sampling: governor.Everything})
}

// Steering is the state as of the last epoch.
func (a *Agent) Steering() Steering { return *a.steering.state.Load() }

// steer counts a batch of records, and once in an epoch says which packets are to be followed in the next.
func (a *Agent) steer(batch []record.Record) error {
	s := &a.steering
	for i := range batch {
		r := &batch[i]
		if r.Kind == record.Dropped || r.Kind == record.Connection {
			continue // never sampled
		}
		all, old := &s.since.Certain, &s.since.OldCertain
		if r.Weight > 1 {
			all, old = &s.since.Chosen, &s.since.OldChosen
		}
		if *all++; r.Hops[0].Time < s.changed {
			*old++
		}
	}
	now := time.Now()
	s.since.Elapsed = now.Sub(s.stepped)
	if s.since.Elapsed < governor.Epoch {
		return nil
	}
	first := s.stepped.IsZero()
	s.stepped = now
	if err := a.account(now); err != nil {
		return err
	}
	if first {
		s.since.Elapsed = 0
	}
	before, next := s.state.Load().Sampling, s.governor.Step(s.since)
	s.since = governor.Spent{}
	s.state.Store(&Steering{Sampling: next, CPU: s.governor.CPU()})
	if next == governor.Everything && before == next {
		return nil // an epoch matters to nobody
	}
	if err := a.loader.Sample(next.N, next.Budget); err != nil {
		return err
	}
	if next != before {
		s.changed = Monotonic()
	}
	return nil
}

// account adds what was spent besides the records that were read; of what takes long to read, once in a while.
func (a *Agent) account(now time.Time) error {
	s := &a.steering
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return fmt.Errorf("read the time spent: %w", err)
	}
	own := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	s.since.CPU = own - s.cpu
	s.cpu = own
	if now.Sub(s.looked) < tick {
		return nil
	}
	s.looked = now
	programs, programsErr := a.loader.Programs()
	counters, countersErr := a.loader.Counters()
	if err := errors.Join(programsErr, countersErr); err != nil {
		return err
	}
	var ran time.Duration
	for _, p := range programs {
		ran += time.Duration(p.Seconds * float64(time.Second))
	}
	s.since.CPU += max(0, ran-s.ran)
	lost := counters.Missed["journey"] + counters.Missed["split"]
	if s.state.Load().N > 1 {
		s.since.Chosen += lost - s.lost
	} else {
		s.since.Certain += lost - s.lost
	}
	s.ran, s.lost = ran, lost
	return nil
}
