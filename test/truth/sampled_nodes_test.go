package truth

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"time"

	"tracer/internal/governor"
	"tracer/internal/record"
	"tracer/test/steady"
)

// seen are packets that a node followed, by their fingerprints: of each how many it stands for.
type seen struct {
	mu      sync.Mutex
	packets map[uint64]uint32
}

// sampled watches what a node follows of the packets of these tests. Where records are read, none is lost; nobody takes them.
func (r *rig) sampled(n *node) *seen {
	s := &seen{packets: map[uint64]uint32{}}
	n.agent.Subscribe(r.Context(), func(one *record.Record) bool {
		if one.Kind == record.Finished && one.First.Destination.Port() == samplePort {
			s.mu.Lock()
			s.packets[one.Fingerprint] = one.Weight
			s.mu.Unlock()
		}
		return false
	})
	return s
}

// take returns what was seen so far, and forgets it.
func (s *seen) take() map[uint64]uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := s.packets
	s.packets = map[uint64]uint32{}
	return all
}

// bothNodes has the nodes of a path follow a different share of its packets, as their limits differ. What the one that follows fewer has
// beyond quotas, the other one has too, but for what an epoch that begins sooner on one of them leaves out.
func bothNodes(r *rig) {
	const flows, every = 4, 250 * time.Microsecond
	key := func() string { return "what both agents are given" }
	dir := filepath.Join(r.TempDir(), "agent")
	for i, limits := range []governor.Limits{atMost(800), atMost(6400)} {
		r.nodes[i] = r.traceWith(r.lab.Node(i+1), dir, limits, key)
	}
	w := r.pairs[0]
	r.discard(w)
	senders := r.flows(w, samplePort, flows, 24)
	ctx, stop := context.WithCancel(r.Context())
	ended := make(chan error, flows)
	for _, f := range senders {
		go func() {
			ended <- func() error {
				for next := time.Now(); ctx.Err() == nil; next = next.Add(every) {
					time.Sleep(time.Until(next))
					if err := f.send(); err != nil {
						return err
					}
				}
				return nil
			}()
		}()
	}
	defer func() {
		stop()
		var err error
		for range senders {
			err = errors.Join(err, <-ended)
		}
		if err != nil {
			r.Error(err)
		}
	}()
	here, there := r.sampled(r.nodes[0]), r.sampled(r.nodes[1])
	steady.Repeat(r, func() (wrong string) { return r.same(here, there) })
}

// saltEpoch is for how long agents sample by one salt, from a whole half minute of the clock on.
const saltEpoch = 30 * time.Second

// same watches what the nodes follow while their salt stays, and says what is wrong with it.
func (r *rig) same(here, there *seen) (wrong string) {
	const watched, settled, late = 8 * time.Second, time.Second, time.Second
	r.eventually(2*saltEpoch, "both nodes follow a part of the packets, the first the fewer, and the salt stays for a while", func() (bool, string) {
		a, b := r.nodes[0].agent.Sampling().Sampling, r.nodes[1].agent.Sampling().Sampling
		into := time.Duration(time.Now().UnixNano()) % saltEpoch
		here.take()
		there.take()
		return b.OneIn >= 2 && a.OneIn >= 4*b.OneIn && into > settled && into < saltEpoch-watched-late, fmt.Sprintf("%+v and %+v, %v into it", a, b, into)
	})
	time.Sleep(watched)
	few := here.take() // before the other: what is on its way comes to that one later
	time.Sleep(late)
	many := there.take()
	beyond, both, sparsest := 0, 0, uint32(0)
	for _, weight := range many {
		sparsest = max(sparsest, weight)
	}
	for fingerprint, weight := range few {
		if weight <= 1 || weight < sparsest {
			continue // by its quota, or when the governor let more through
		}
		beyond++
		if many[fingerprint] > 0 {
			both++
		}
	}
	r.Logf("of %d packets that the first node follows by chance the second follows %d; they follow %d and %d in all, %+v and %+v", beyond, both, len(few), len(many),
		r.nodes[0].agent.Sampling().Sampling, r.nodes[1].agent.Sampling().Sampling)
	if beyond < 200 || float64(both) < 0.9*float64(beyond) {
		return fmt.Sprintf("of %d packets that the first node follows by chance the second follows %d, want 90 %% of at least 200", beyond, both)
	}
	return ""
}
