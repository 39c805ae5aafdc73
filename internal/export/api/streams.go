//go:build linux

package api

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	// maxTraceStreams, maxHeaderStreams (of traces with headers) and maxOverviewStreams are how many clients may read each at once. Headers are
	// read by programs that are loaded for each filter, so there are few: less than the loader opens, since those of a stream that lost
	// its place take a while to close.
	maxTraceStreams    = 16
	maxHeaderStreams   = 4
	maxOverviewStreams = 8
	// stalledAfter is how long a client may leave its stream unread while others wait for its place.
	stalledAfter = 10 * time.Second
)

// streams are those of one kind that there are now. A client more takes the place of one that no longer reads; if all do,
// it is refused.
type streams struct {
	kind string // of what, as a client is told
	max  int
	now  func() time.Time

	mu   sync.Mutex
	open map[*place]bool
}

// place is what a stream holds while it is open.
type place struct {
	all     *streams
	cancel  context.CancelFunc
	blocked time.Time // since when the client takes nothing; zero if it does. Under all.mu
}

// enter takes a place, until its leave. The context that it returns ends with the request's, or when the place goes to another.
func (s *streams) enter(ctx context.Context) (*place, context.Context, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.open) >= s.max && !s.closeStalled() {
		return nil, nil, fmt.Errorf("all %d streams of %s that an agent serves at once are being read; close one, or try again later", s.max, s.kind)
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &place{all: s, cancel: cancel}
	if s.open == nil {
		s.open = map[*place]bool{}
	}
	s.open[p] = true
	return p, ctx, nil
}

// closeStalled ends the stream that has been unread for longest, if it is long enough.
func (s *streams) closeStalled() bool {
	var longest *place
	for p := range s.open {
		if !p.blocked.IsZero() && (longest == nil || p.blocked.Before(longest.blocked)) {
			longest = p
		}
	}
	if longest == nil || s.now().Sub(longest.blocked) < stalledAfter {
		return false
	}
	delete(s.open, longest)
	longest.cancel()
	return true
}

// sending and sent surround what blocks while the client does not read.
func (p *place) sending() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.blocked = p.all.now()
}

func (p *place) sent() {
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	p.blocked = time.Time{}
}

func (p *place) leave() {
	p.cancel()
	p.all.mu.Lock()
	defer p.all.mu.Unlock()
	delete(p.all.open, p)
}

// serve gives a client its stream of lines, which write sends until it has no more, or is told why there is none.
func (s *streams) serve(w http.ResponseWriter, r *http.Request, write func(ctx context.Context, send func(lines []byte) error)) {
	place, ctx, err := s.enter(r.Context())
	if err != nil {
		refuseBusy(w, err)
		return
	}
	defer place.leave()
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Time{}) // an earlier answer's, on the same connection
	// A client that no longer reads holds up its own stream alone, and not the end of the server.
	defer context.AfterFunc(ctx, func() { _ = control.SetWriteDeadline(time.Now()) })()
	w.Header().Set("Content-Type", "application/jsonl")
	w.WriteHeader(http.StatusOK)
	if control.Flush() != nil {
		return
	}
	write(ctx, func(lines []byte) error {
		place.sending()
		defer place.sent()
		if _, err := w.Write(lines); err != nil {
			return err
		}
		return control.Flush()
	})
}
