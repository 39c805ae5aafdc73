package agent

import (
	"context"
	"sync"
	"sync/atomic"

	"tracer/internal/record"
)

// subscriberBuffer is how many records wait for a subscriber.
const subscriberBuffer = 1024

// subscribers are those there are now.
type subscribers struct {
	mu     sync.Mutex
	active map[*subscriber]bool
}

// subscriber gets a copy of the records that it wants.
type subscriber struct {
	records chan record.Record
	want    func(*record.Record) bool
	asked   bool // it wants requests, and no journeys
	missed  atomic.Uint64
}

// Subscribe sends the records of journeys that want accepts, until ctx or the agent ends; then the channel is closed.
// want runs where records are read: it must be quick. A receiver that is too slow misses records, which missed counts; it
// never holds up the agent.
func (a *Agent) Subscribe(ctx context.Context, want func(*record.Record) bool) (records <-chan record.Record, missed func() uint64) {
	return a.subscribe(ctx, &subscriber{want: want})
}

// SubscribeRequests sends those of requests, likewise.
func (a *Agent) SubscribeRequests(ctx context.Context, want func(*record.Record) bool) (records <-chan record.Record, missed func() uint64) {
	return a.subscribe(ctx, &subscriber{want: want, asked: true})
}

func (a *Agent) subscribe(ctx context.Context, s *subscriber) (records <-chan record.Record, missed func() uint64) {
	s.records = make(chan record.Record, subscriberBuffer)
	a.subscribers.add(s)
	context.AfterFunc(ctx, func() { a.subscribers.remove(s) })
	return s.records, s.missed.Load
}

func (s *subscribers) add(n *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active == nil {
		s.active = map[*subscriber]bool{}
	}
	s.active[n] = true
}

func (s *subscribers) remove(gone *subscriber) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.active[gone] {
		delete(s.active, gone)
		close(gone.records)
	}
}

func (s *subscribers) removeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.active {
		close(n.records)
	}
	clear(s.active)
}

func (s *subscribers) publish(batch []record.Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for n := range s.active {
		for i := range batch {
			if batch[i].Kind == record.Connection || n.asked != (batch[i].Kind == record.Requested) || !n.want(&batch[i]) {
				continue
			}
			select {
			case n.records <- batch[i]:
			default:
				n.missed.Add(1)
			}
		}
	}
}
