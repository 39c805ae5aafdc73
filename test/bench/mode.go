package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"

	"tracer/internal/agent"
	"tracer/internal/governor"
	"tracer/internal/lab"
	"tracer/internal/loader"
)

// mode is what looks at the traffic while it is measured.
type mode struct {
	name  string
	start func(ctx context.Context, o *overlay) (io.Closer, error)
	// lower is how much lower a workload's rate may be than with no tracer; none if it has no entry.
	lower map[string]float64
}

// The first mode is what the others are compared with.
const (
	noTracer      = "no tracer"
	emptyPrograms = "empty programs"
	everyPacket   = "every packet"
	byDefault     = "default"
)

func modes() []mode {
	return []mode{
		{name: noTracer, start: func(context.Context, *overlay) (io.Closer, error) { return io.NopCloser(nil), nil }},
		{name: emptyPrograms, start: func(_ context.Context, o *overlay) (io.Closer, error) { return attachEmpty(o.Node(1)) }},
		{
			name: everyPacket,
			start: func(ctx context.Context, o *overlay) (io.Closer, error) {
				return startAgent(ctx, o, o.Node(1), unlimited())
			},
			lower: map[string]float64{smallUDP: 0.12, bulkTCP: 0.12, callsTCP: 0.12},
		},
		{
			name: byDefault,
			start: func(ctx context.Context, o *overlay) (io.Closer, error) {
				return startAgent(ctx, o, o.Node(1), governor.Limits{})
			},
			lower: map[string]float64{smallUDP: 0.05, bulkTCP: 0.02, callsTCP: 0.02},
		},
	}
}

// nodeAgent is a process of this program that traces a node of the overlay.
type nodeAgent struct {
	cmd    *exec.Cmd
	input  io.Closer // which it reads: its end ends it
	stderr strings.Builder
}

// task is what such a process is told, on one line.
type task struct {
	Node   string // the network namespace
	Dir    string
	Pods   []lab.Pod
	Limits governor.Limits
}

// startAgent returns when the agent traces. Closing it ends it.
func startAgent(ctx context.Context, o *overlay, node lab.Node, limits governor.Limits) (_ io.Closer, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the benchmark's own program: %w", err)
	}
	a := &nodeAgent{cmd: exec.CommandContext(ctx, self, "-be", "node-agent")}
	a.cmd.Stderr = &a.stderr
	// It ends with its input, also when this process is killed.
	input, err := a.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	a.input = input
	output, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := a.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start an agent: %w", err)
	}
	err = json.NewEncoder(input).Encode(task{string(node.Netns), o.dir, o.Pods(), limits})
	if err == nil {
		_, err = output.Read(make([]byte, 1))
	}
	if err != nil {
		return nil, fmt.Errorf("start an agent: %w", errors.Join(err, a.Close()))
	}
	return a, nil
}

func (a *nodeAgent) Close() error {
	a.input.Close()
	if err := a.cmd.Wait(); err != nil {
		return fmt.Errorf("an agent: %w\n%s", err, &a.stderr)
	}
	return nil
}

// beNodeAgent is that process.
func beNodeAgent(ctx context.Context) error {
	var t task
	if err := json.NewDecoder(os.Stdin).Decode(&t); err != nil {
		return fmt.Errorf("read what to do: %w", err)
	}
	agent.SaveMemory()
	var a *agent.Agent
	err := lab.Namespace(t.Node).Do(func() (err error) {
		a, err = agent.Start(agent.Options{Loader: loader.Options{Dir: t.Dir}, Namer: podNames(t.Pods), Limits: t.Limits})
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
	fmt.Println("tracing")
	err = a.Run(ctx)
	return errors.Join(err, a.Close())
}
