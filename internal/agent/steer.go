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
	cpu      time.Duration // of this process and the programs, when stepped
	lost     uint64        // journeys that found no room in the ring, likewise
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
		switch r := &batch[i]; {
		case r.Kind == record.Dropped:
		case r.Weight > 1:
			s.since.Chosen++
		default:
			s.since.Certain++
		}
	}
	now := time.Now()
	s.since.Elapsed = now.Sub(s.stepped)
	if s.since.Elapsed < governor.Epoch {
		return nil
	}
	first := s.stepped.IsZero()
	s.stepped = now
	if err := a.account(); err != nil {
		return err
	}
	if first {
		s.since.Elapsed = 0
	}
	next := s.governor.Step(s.since)
	s.since = governor.Spent{}
	s.state.Store(&Steering{Sampling: next, CPU: s.governor.CPU()})
	return a.loader.Sample(next.N, next.Budget)
}

// account adds what was spent besides the records that were read.
func (a *Agent) account() error {
	s := &a.steering
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return fmt.Errorf("read the time spent: %w", err)
	}
	programs, programsErr := a.loader.Programs()
	counters, countersErr := a.loader.Counters()
	if err := errors.Join(programsErr, countersErr); err != nil {
		return err
	}
	cpu := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	for _, p := range programs {
		cpu += time.Duration(p.Seconds * float64(time.Second))
	}
	lost := counters.Lost["journey"] + counters.Lost["split"]
	s.since.CPU = cpu - s.cpu
	if s.state.Load().N > 1 {
		s.since.Chosen += lost - s.lost
	} else {
		s.since.Certain += lost - s.lost
	}
	s.cpu, s.lost = cpu, lost
	return nil
}
