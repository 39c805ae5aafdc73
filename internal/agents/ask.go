package agents

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"tracer/internal/export/api"
)

// MaxAtOnce is how many agents are asked at a time.
const MaxAtOnce = 32

// Answer is what an agent said, or why it did not.
type Answer[T any] struct {
	Agent
	Value T
	Err   error
}

// Ask asks all agents the same, MaxAtOnce at a time and each for limit at most. It calls done with each answer as it comes, one call at
// a time. If ctx ends those that have not answered have its error.
func Ask[T any](ctx context.Context, c *Cluster, all []Agent, limit time.Duration, question func(context.Context, *api.Client) (T, error), done func(Answer[T])) {
	var group errgroup.Group
	var calling sync.Mutex
	group.SetLimit(MaxAtOnce)
	for _, a := range all {
		group.Go(func() error {
			answer := Answer[T]{Agent: a}
			answer.Value, answer.Err = askOne(ctx, c, a, limit, question)
			calling.Lock()
			defer calling.Unlock()
			done(answer)
			return nil
		})
	}
	_ = group.Wait()
}

func askOne[T any](ctx context.Context, c *Cluster, a Agent, limit time.Duration, question func(context.Context, *api.Client) (T, error)) (v T, err error) {
	if a.Why != "" {
		return v, errors.New(a.Why)
	}
	if ctx.Err() != nil {
		return v, errors.New("not asked: interrupted")
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %v", limit))
	defer cancel()
	client, done := c.borrow(a)
	defer done()
	v, err = question(ctx, client)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return v, err
}
