//go:build linux

package api

import (
	"context"
	"fmt"
	"net/http"
	"time"
)

const (
	// maxTurns is how many answers of one kind, which may be tens of megabytes, are made and sent at once.
	maxTurns = 4
	// turnWithin is how long a request waits for its turn, answerWithin how long a client may take to read an answer.
	turnWithin   = 10 * time.Second
	answerWithin = 10 * time.Second
)

// turns bounds how many answers of one kind there are in memory.
type turns struct {
	kind  string
	taken chan struct{}
	wait  time.Duration
}

func newTurns(kind string) *turns {
	return &turns{kind: kind, taken: make(chan struct{}, maxTurns), wait: turnWithin}
}

// take waits for a turn, which lasts until give.
func (t *turns) take(ctx context.Context) error {
	select {
	case t.taken <- struct{}{}: // however late this is asked
		return nil
	default:
	}
	limit := time.NewTimer(t.wait)
	defer limit.Stop()
	select {
	case t.taken <- struct{}{}:
		return nil
	case <-limit.C:
		return fmt.Errorf("%d answers of %s are being sent, the most at once; try again later", cap(t.taken), t.kind)
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t *turns) give() { <-t.taken }

// handler is one that answers when it is its turn.
func (t *turns) handler(answer http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if err := t.take(r.Context()); err != nil {
			refuseBusy(w, err)
			return
		}
		defer t.give()
		answer(w, r)
	}
}
