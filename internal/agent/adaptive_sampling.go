package agent

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"tracer/internal/governor"
	"tracer/internal/loader"
	"tracer/internal/record"
)

// adaptiveSampling keeps what tracing costs within its limits. It is the reader's goroutine's alone: should that stall, no
// epoch begins any more, and only a sample of the packets is tracked.
type adaptiveSampling struct {
	governor *governor.Governor
	spent    governor.Cost // since the last step
	stepped  time.Time
	cpu      time.Duration // of this process, when stepped
	changed  time.Duration // when the sampling in force began
	state    atomic.Pointer[Sampling]
	salts    salts

	maxRecords int          // a second
	watched    atomic.Int32 // paths that somebody asks for now: their packets are followed, all of them
	lifted     bool         // every packet is sampled, for that; flooded if they were too many
	flooded    bool
	allowance  float64 // while lifted, how many records more may come at once: those of one second, less what came faster than the limit

	// What takes some system calls to read, as read last.
	read   time.Time
	ran    time.Duration // of the programs
	missed uint64        // journeys that found no room in the ring buffer
}

// Sampling is how many packets are tracked, and why not more.
type Sampling struct {
	governor.Sampling
	// CPU is how many cores the agent and, where the kernel tells, its programs took lately.
	CPU float64
}

func (s *adaptiveSampling) start(limits governor.Limits, sharedKey func() string) {
	if limits.MaxRecords == 0 {
		limits.MaxRecords = governor.DefaultMaxRecords
	}
	if limits.MaxCPU == 0 {
		limits.MaxCPU = governor.DefaultMaxCPU
	}
	s.governor, s.maxRecords = governor.New(limits), limits.MaxRecords
	s.salts = newSalts(sharedKey)
	s.state.Store(&Sampling{Sampling: governor.EveryPacket})
}

// Sampling is the sampling as of the last epoch.
func (a *Agent) Sampling() Sampling { return *a.sampling.state.Load() }

// SharesSampling tells whether the agent samples by a key that others have too: then all sample the same packets.
func (a *Agent) SharesSampling() bool {
	_, shared := a.sampling.salts.key()
	return shared
}

// maxUntilLifted is how many epochs it may take until every packet of a path is sampled: the reader begins one when it has read.
const maxUntilLifted = 10

// untilLifted returns when every packet is sampled, or will not be, with the time of CLOCK_MONOTONIC from which on they are.
func (s *adaptiveSampling) untilLifted(ctx context.Context) time.Duration {
	ticker := time.NewTicker(governor.Epoch / 10)
	defer ticker.Stop()
	for range 10 * maxUntilLifted {
		if s.state.Load().Sampling == governor.EveryPacket || ctx.Err() != nil {
			break
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
		}
	}
	return loader.Monotonic()
}

// adaptSampling counts a batch of records, and once in an epoch says which packets are to be tracked in the next.
func (a *Agent) adaptSampling(batch []record.Record) error {
	s := &a.sampling
	for i := range batch {
		r := &batch[i]
		if r.Kind == record.Dropped || r.Kind == record.Connection || r.Kind == record.Requested {
			continue // never sampled
		}
		all, old := &s.spent.WithinQuota, &s.spent.EarlierWithinQuota
		if r.Weight > 1 {
			all, old = &s.spent.ByChance, &s.spent.EarlierByChance
		}
		if *all++; r.Hops[0].Time < s.changed {
			*old++
		}
	}
	now := time.Now()
	s.spent.Elapsed = now.Sub(s.stepped)
	if s.spent.Elapsed < governor.Epoch {
		return nil
	}
	first := s.stepped.IsZero()
	s.stepped = now
	if err := a.addSpent(now); err != nil {
		return err
	}
	if first {
		s.spent.Elapsed = 0
	}
	before, next := s.state.Load().Sampling, s.next()
	s.spent = governor.Cost{}
	s.state.Store(&Sampling{Sampling: next, CPU: s.governor.CPU()})
	if next == governor.EveryPacket && before == next {
		return nil // the programs need not know of the epoch
	}
	if err := a.loader.BeginEpoch(next.OneIn, next.FlowQuota, s.salts.at(now)); err != nil {
		return err
	}
	if next != before {
		s.changed = loader.Monotonic()
	}
	return nil
}

// next is the governor's answer, or every packet while a path is watched: two nodes that sample each for itself seldom follow the same
// packets. The limit of records holds all the same, over a second: a reader that stood still finds in one epoch what came in several. That of
// CPU time does not; what is spent meanwhile the governor does not see.
func (s *adaptiveSampling) next() governor.Sampling {
	watched := s.watched.Load() > 0
	if s.lifted {
		limit := float64(s.maxRecords)
		s.allowance = min(limit, s.allowance+limit*s.spent.Elapsed.Seconds()) - float64(s.spent.WithinQuota+s.spent.ByChance)
		s.flooded = s.flooded || s.allowance < 0
	}
	s.flooded = s.flooded && watched
	if lift := watched && !s.flooded; lift || s.lifted {
		if lift && !s.lifted {
			s.allowance = float64(s.maxRecords)
		}
		s.lifted = lift
		s.spent = governor.Cost{}
	}
	if s.lifted {
		return governor.EveryPacket
	}
	return s.governor.Step(s.spent)
}

// addSpent adds what was spent besides the records that were read; what takes long to read, once in a while.
func (a *Agent) addSpent(now time.Time) error {
	s := &a.sampling
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return fmt.Errorf("read CPU time: %w", err)
	}
	own := time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	s.spent.CPU = own - s.cpu
	s.cpu = own
	if now.Sub(s.read) < pollEvery {
		return nil
	}
	s.read = now
	programs, programsErr := a.loader.Programs()
	counters, countersErr := a.loader.Counters()
	if err := errors.Join(programsErr, countersErr); err != nil {
		return err
	}
	var ran time.Duration
	for _, p := range programs {
		ran += time.Duration(p.Seconds * float64(time.Second))
	}
	s.spent.CPU += max(0, ran-s.ran)
	missed := counters.Missed["journey"] + counters.Missed["split"]
	if s.state.Load().OneIn > 1 {
		s.spent.ByChance += missed - s.missed
	} else {
		s.spent.WithinQuota += missed - s.missed
	}
	s.ran, s.missed = ran, missed
	return nil
}
