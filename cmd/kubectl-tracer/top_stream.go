package main

import (
	"context"
	"errors"
	"iter"
	"time"

	"tracer/internal/agents"
	"tracer/internal/cluster"
	"tracer/internal/overview"
)

// askAgain is how long after its stream ended an agent is asked again.
const askAgain = 2 * time.Second

// Overviews yields one of all agents for each of the query's intervals, until ctx ends: the first when each has answered, or none more does
// within the limit. Each agent has one stream; one that ends is opened again, and meanwhile the node is told as one that does not answer.
func (v *clusterView) Overviews(ctx context.Context, q overview.Query) iter.Seq2[*overview.Overview, error] {
	return func(yield func(*overview.Overview, error) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		came := make(chan cluster.Seen)
		for _, a := range v.agents {
			go v.watch(ctx, a, agents.FlowsQuery(q.Interval, agents.MaxFlows), came)
		}
		latest := map[string]cluster.Seen{}
		show := func() bool {
			var all []cluster.Seen
			for _, a := range v.agents {
				s, ok := latest[a.Node]
				if !ok {
					s = cluster.Seen{Node: a.Node, Err: errors.New("no answer yet")}
				}
				all = append(all, s)
			}
			return yield(v.overview(all, q), nil)
		}
		first := time.NewTimer(v.limit)
		defer first.Stop()
		every := time.NewTicker(q.Interval)
		defer every.Stop()
		shown := false
		for {
			select {
			case <-ctx.Done():
				return
			case s := <-came:
				latest[s.Node] = s
				if shown || len(latest) < len(v.agents) {
					continue
				}
			case <-first.C:
				if shown {
					continue
				}
			case <-every.C:
				if !shown {
					continue
				}
			}
			shown = true
			if !show() {
				return
			}
		}
	}
}

// watch sends what an agent sees, again and again.
func (v *clusterView) watch(ctx context.Context, a agents.Agent, q overview.Query, to chan<- cluster.Seen) {
	send := func(o *overview.Overview, err error) bool {
		select {
		case to <- agents.Seen(a.Node, o, err):
			return true
		case <-ctx.Done():
			return false
		}
	}
	for ctx.Err() == nil {
		client := v.cluster.Client(a)
		for o, err := range client.Overviews(ctx, q) {
			if err == nil && o.Rows == nil {
				continue // flows are counted from when they are asked for
			}
			if !send(o, err) {
				break
			}
		}
		client.Close()
		select {
		case <-ctx.Done():
		case <-time.After(askAgain):
		}
	}
}
