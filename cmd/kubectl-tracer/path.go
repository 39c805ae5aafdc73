package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tracer/internal/agents"
	"tracer/internal/console"
	"tracer/internal/export/api"
	"tracer/internal/pairpath"
)

// maxPathNodes is how many nodes the ends of a path may be on.
const maxPathNodes = 32

func newPathCommand(flags *clusterFlags) *cobra.Command {
	var output string
	window, limit := 10*time.Second, 10*time.Second
	cmd := &cobra.Command{
		Use:   "path SRC DST",
		Short: "Show each stage that packets pass between two ends, there and back",
		Long: `Watch the packets between two ends for some seconds, on the nodes where these are, and show
each stage that they pass there and back: how long it takes, what is usual, and what is
lost. What lies between the nodes is measured by the packets that both saw, without
trusting their clocks.

SRC and DST are deploy/NAME, sts/NAME, ds/NAME, job/NAME, pod/NAME, svc/NAME, node/NAME,
a name alone, or an address.

Exit code: 0 packets were seen, 3 none was, 1 could not run or no agent answered.`,
		Example: `  kubectl tracer path web api
  kubectl tracer path deploy/web svc/api -n shop --duration 30s
  kubectl tracer path pod/web-0 10.244.2.7 -o json | jq .wire`,
		Args:              cobra.ExactArgs(2),
		ValidArgsFunction: flags.ends,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := console.OneOf("output", output, "text", "json"); err != nil {
				return err
			}
			w, err := flags.watcher(cmd.Context(), args[0], args[1], window, limit)
			if err != nil {
				return err
			}
			p := w.path(cmd.Context())
			return write(cmd.OutOrStdout(), output, &p)
		},
	}
	cmd.Flags().DurationVar(&window, "duration", window, "how long to watch (at most 1m)")
	cmd.Flags().DurationVar(&limit, "timeout", limit, "how long to wait for the API server, and for each agent besides --duration")
	cmd.Flags().StringVarP(&output, "output", "o", "text", "how to print: text or json")
	return cmd
}

// pathWatcher asks the agents of the nodes where two ends are.
type pathWatcher struct {
	cluster  *agents.Cluster
	from, to agents.End
	query    pairpath.Query
	asked    []agents.Agent
	missing  []pairpath.Answer // of nodes that cannot be asked
	limit    time.Duration
}

// watcher finds two ends by their names, as the flags have the cluster and the namespace.
func (f *clusterFlags) watcher(ctx context.Context, src, dst string, window, limit time.Duration) (*pathWatcher, error) {
	if window < pairpath.MinWindow || window > pairpath.MaxWindow {
		return nil, fmt.Errorf("--duration %v: give %v to %v", window, pairpath.MinWindow, pairpath.MaxWindow)
	}
	c, err := f.cluster()
	if err != nil {
		return nil, err
	}
	namespace, _, err := f.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, fmt.Errorf("find the namespace: %w", err)
	}
	return newPathWatcher(ctx, c, namespace, src, dst, window, limit)
}

// newPathWatcher finds two ends, and the agents that are to be asked.
func newPathWatcher(ctx context.Context, c *agents.Cluster, namespace, src, dst string, window, limit time.Duration) (*pathWatcher, error) {
	w := &pathWatcher{cluster: c, limit: limit}
	all, from, to, err := findEnds(ctx, c, namespace, src, dst, limit)
	if err != nil {
		return nil, err
	}
	if err := apart(from, to); err != nil {
		return nil, err
	}
	w.from, w.to = from, to
	w.query = pairpath.Query{Src: from.Addresses, Dst: to.Addresses, Window: window}
	if err := w.query.Check(); err != nil {
		return nil, err
	}
	if nodes := slices.Concat(from.Nodes, to.Nodes); len(nodes) > 0 {
		if err := c.Ensure(ctx, nodes); err != nil {
			return nil, err
		}
		if all, _, err = c.List(ctx); err != nil {
			return nil, err
		}
	}
	w.asked, w.missing, err = concerned(all, from, to)
	return w, err
}

// path watches, and joins what the nodes saw.
func (w *pathWatcher) path(ctx context.Context) pairpath.Path {
	return pairpath.Join(endOf(w.from), endOf(w.to), w.watch(ctx))
}

// watch has all agents watch at once, and returns what they say by the nodes' names.
func (w *pathWatcher) watch(ctx context.Context) (answers []pairpath.Answer) {
	start := newStart(len(w.asked))
	agents.Ask(ctx, w.cluster, w.asked, w.query.Window+2*w.limit, func(ctx context.Context, client *api.Client) (pairpath.Half, error) {
		// A stream takes its time to open, and both must see the same packets.
		_, err := client.Status(ctx)
		start.ready()
		if err != nil {
			return pairpath.Half{}, err
		}
		start.wait(ctx, w.limit)
		return client.Path(ctx, w.query)
	}, func(a agents.Answer[pairpath.Half]) {
		answer := pairpath.Answer{Node: a.Node, Err: a.Err}
		if a.Err == nil {
			answer.Half = &a.Value
		}
		answers = append(answers, answer)
	})
	answers = append(answers, w.missing...)
	slices.SortFunc(answers, func(x, y pairpath.Answer) int { return strings.Compare(x.Node, y.Node) })
	return answers
}

// findEnds asks the API server which agents there are and where two ends are, for limit at most.
func findEnds(ctx context.Context, c *agents.Cluster, namespace, src, dst string, limit time.Duration) (all []agents.Agent, from, to agents.End, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("the API server took more than %v: give it more by --timeout", limit))
	defer cancel()
	defer func() {
		if cause := context.Cause(ctx); err != nil && cause != nil {
			err = cause
		}
	}()
	if all, _, err = c.List(ctx); err != nil {
		return nil, from, to, err
	}
	resolver, err := c.Resolver(ctx, namespace)
	if err != nil {
		return nil, from, to, err
	}
	if from, err = resolver.Resolve(ctx, src); err != nil {
		return nil, from, to, err
	}
	to, err = resolver.Resolve(ctx, dst)
	return all, from, to, err
}

func endOf(e agents.End) pairpath.End {
	return pairpath.End{Name: e.Name, Nodes: e.Nodes, OnHost: e.OnHost, Unknown: e.Unknown}
}

// apart refuses ends that have an address in common: which way a packet goes cannot be told of all.
func apart(from, to agents.End) error {
	for _, a := range from.Addresses {
		if slices.Contains(to.Addresses, a) {
			return fmt.Errorf("both ends have %v (%s, %s): name one pod of each", a, from.Name, to.Name)
		}
	}
	return nil
}

// concerned are the agents of the nodes where the ends are, and what is to be said of those that cannot be asked.
func concerned(all []agents.Agent, ends ...agents.End) (out []agents.Agent, missing []pairpath.Answer, err error) {
	seen := map[string]bool{}
	for _, e := range ends {
		for _, node := range e.Nodes {
			if seen[node] {
				continue
			}
			seen[node] = true
			a := agents.Agent{Node: node, Why: "no agent runs there"}
			if at := slices.IndexFunc(all, func(a agents.Agent) bool { return a.Node == node }); at >= 0 {
				a = all[at]
			}
			if a.Why != "" {
				missing = append(missing, pairpath.Answer{Node: node, Err: errors.New(a.Why)})
			} else {
				out = append(out, a)
			}
		}
	}
	switch {
	case len(seen) == 0:
		return nil, nil, errors.New("neither end is a pod or node of this cluster")
	case len(out) > maxPathNodes:
		return nil, nil, fmt.Errorf("these are on %d nodes: name a pod of each; at most %d can be watched at once", len(out), maxPathNodes)
	}
	return out, missing, nil
}

// start is when several begin at once: as soon as all are ready.
type start struct {
	waiting sync.WaitGroup
	all     chan struct{}
}

func newStart(n int) *start {
	s := &start{all: make(chan struct{})}
	s.waiting.Add(n)
	go func() {
		s.waiting.Wait()
		close(s.all)
	}()
	return s
}

// ready is called once by each.
func (s *start) ready() { s.waiting.Done() }

// wait returns when all are ready, and no later than after limit: one that hangs holds up nobody.
func (s *start) wait(ctx context.Context, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-s.all:
	case <-timer.C:
	case <-ctx.Done():
	}
}
