package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"tracer/internal/agent"
	"tracer/internal/governor"
	"tracer/internal/lab"
	"tracer/internal/loader"
)

// mode is what looks at the traffic while it is measured.
type mode struct {
	name  string
	start func(ctx context.Context, o *overlay) (io.Closer, error)
	// limits are those of what is left of a workload's rate with emptyOnDevices, or of its time; none if it has no entry.
	limits map[string]float64
}

// All are compared with the first mode, and limited by a comparison with the second.
const (
	noTracer       = "no tracer"
	emptyOnDevices = "empty programs on tc"
	emptyPrograms  = "empty programs"
	everyPacket    = "every packet"
	byDefault      = "default"
)

// modes are those that are compared, with a peer's programs if there are any.
func modes(other *peer) []mode {
	empty := func(at func(loader.Hook) bool) func(context.Context, *overlay) (io.Closer, error) {
		return func(_ context.Context, o *overlay) (io.Closer, error) { return attachEmpty(o.Node(1), at) }
	}
	list := []mode{
		{name: noTracer, start: func(context.Context, *overlay) (io.Closer, error) { return io.NopCloser(nil), nil }},
		{name: emptyOnDevices, start: empty(onDevices)},
		{name: emptyPrograms, start: empty(everywhere)},
		{
			name: everyPacket,
			start: func(ctx context.Context, o *overlay) (io.Closer, error) {
				return startAgent(ctx, o, o.Node(1), unlimited())
			},
			limits: map[string]float64{smallUDP: 0.90, bulkTCP: 0.92, callsTCP: 0.92},
		},
		{
			name: byDefault,
			start: func(ctx context.Context, o *overlay) (io.Closer, error) {
				return startAgent(ctx, o, o.Node(1), governor.Limits{})
			},
			limits: map[string]float64{smallUDP: 0.94, bulkTCP: 0.97, callsTCP: 0.97, pacedTCP: 1.05},
		},
	}
	if other != nil {
		list = append(list, mode{name: other.name(), start: func(_ context.Context, o *overlay) (io.Closer, error) {
			return other.attach(o.Node(1))
		}})
	}
	return list
}

// task is what a process that traces a node of the overlay is told, on one line.
type task struct {
	Node   string // the network namespace
	Dir    string
	Pods   []lab.Pod
	Limits governor.Limits
}

// settled is how long an agent runs before it is measured.
const settled = 2500 * time.Millisecond

// startAgent returns when the agent traces. Closing it ends it.
func startAgent(ctx context.Context, o *overlay, node lab.Node, limits governor.Limits) (_ io.Closer, err error) {
	p, err := newOther(ctx, "node-agent")
	if err != nil {
		return nil, err
	}
	if err := p.start(); err != nil {
		return nil, err
	}
	err = json.NewEncoder(p.input).Encode(task{string(node.Netns), o.dir, o.Pods(), limits})
	if err == nil {
		_, err = p.output.Read(make([]byte, 1))
	}
	if err != nil {
		return nil, fmt.Errorf("start an agent: %w", errors.Join(err, p.Close()))
	}
	return p, nil
}

// beNodeAgent is that process.
func beNodeAgent(ctx context.Context) error {
	var t task
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	agent.CollectGarbageEarly()
	var a *agent.Agent
	err := lab.Namespace(t.Node).Do(func() (err error) {
		a, err = agent.Start(agent.Options{Loader: loader.Options{Dir: t.Dir, ConsumeCalm: time.Nanosecond}, Namer: podNames(t.Pods), Limits: t.Limits})
		return err
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		cancel()
	}()
	// By then the hook is gone that it has at a start alone.
	started := time.AfterFunc(settled, func() { fmt.Println("tracing") })
	defer started.Stop()
	err = a.Run(ctx)
	return errors.Join(err, a.Close())
}
