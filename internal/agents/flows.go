package agents

import (
	"context"
	"errors"
	"time"

	"tracer/internal/cluster"
	"tracer/internal/export/api"
	"tracer/internal/overview"
)

// MaxFlows is how many flows an agent is asked for at most, those first that hurt most: it keeps 4,096.
const MaxFlows = 1000

// FlowsQuery asks an agent for what cluster.Overview joins: so many flows, each interval.
func FlowsQuery(interval time.Duration, most int) overview.Query {
	return overview.Query{By: overview.ByFlow, Interval: interval, Limit: most}
}

// AskFlows asks all agents for their flows of one window, as Ask does: since they were asked for before, or, if that
// was not in the last 20 s, in a second from then on.
func AskFlows(ctx context.Context, c *Cluster, all []Agent, limit time.Duration, query overview.Query, done func(cluster.Seen)) {
	Ask(ctx, c, all, limit, func(ctx context.Context, client *api.Client) (*overview.Overview, error) {
		for o, err := range client.Overviews(ctx, query) {
			if err != nil || o.Rows != nil {
				return o, err
			}
		}
		return nil, context.Cause(ctx)
	}, func(a Answer[*overview.Overview]) {
		done(Seen(a.Node, a.Value, a.Err))
	})
}

// Seen is an agent's answer; one that ended without any has an error too.
func Seen(node string, o *overview.Overview, err error) cluster.Seen {
	if o == nil && err == nil {
		err = errors.New("it ended before it answered")
	}
	if err != nil {
		o = nil
	}
	return cluster.Seen{Node: node, Overview: o, Err: err}
}
