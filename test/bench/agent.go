package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"tracer/internal/agent"
	"tracer/internal/aggregate"
	"tracer/internal/governor"
	"tracer/internal/loader"
)

// patience is how long the agent may take to count the last packets.
const patience = 5 * time.Second

// beAgent traces the network namespace of its process, which is empty, while pods there send over the node's uplink
// for the time given; then it says on standard output what memory that took. dir is for the agent's files.
func beAgent(ctx context.Context, dir string, watch time.Duration) error {
	agent.SaveMemory()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t, err := newTraffic()
	if err != nil {
		return err
	}
	defer t.Close()
	a, err := agent.Start(agent.Options{
		Loader: loader.Options{Dir: dir}, Namer: t.names(),
		// This process sends the traffic too: its time is no measure of the agent.
		Limits: governor.Limits{MaxRecords: 1e9, MaxCPU: 1e3},
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	sending, stop := context.WithTimeout(ctx, watch)
	defer stop()
	sent, err := t.send(sending)
	// The agent's reader may be behind, most of all on a machine that is busy.
	for start := time.Now(); int(a.Snapshot().Records) < sent && time.Since(start) < patience; {
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	if err := errors.Join(err, <-ended); err != nil {
		return errors.Join(err, a.Close())
	}
	resident, peak, err := residentOf(os.Getpid())
	var m memory
	if err == nil {
		m, err = kernelMemory()
	}
	seen := a.Snapshot()
	if lost := sent - int(seen.Records); lost > sent/100 {
		err = errors.Join(err, fmt.Errorf("the agent saw %d of %d packets", seen.Records, sent))
	}
	if err := errors.Join(err, a.Close()); err != nil {
		return err
	}
	m.Agent = agentMemory{Flows: flows, Records: seen.Records, ResidentBytes: resident, PeakBytes: peak}
	return json.NewEncoder(os.Stdout).Encode(m)
}

// measureMemory runs a process as beAgent, in a network namespace of its own that ends with it.
func measureMemory(ctx context.Context, watch time.Duration) (m memory, err error) {
	err = inNamespace(ctx, &m, "-agent", watch)
	return m, err
}

// measureView runs a process as beViewed, likewise.
func measureView(ctx context.Context, each time.Duration) (c viewCost, err error) {
	err = inNamespace(ctx, &c, "-viewed", each)
	return c, err
}

// inNamespace runs this program with a flag that takes a directory, and reads what it says.
func inNamespace(ctx context.Context, into any, flag string, watch time.Duration) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the benchmark's own program: %w", err)
	}
	dir, err := os.MkdirTemp("", "tracer-bench-")
	if err != nil {
		return fmt.Errorf("make a directory for the agent: %w", err)
	}
	defer os.RemoveAll(dir)
	// The child is to die with this thread, not with one that Go happens to end.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, self, flag, dir, "-watch", watch.String())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	if err != nil {
		return fmt.Errorf("run an agent: %w\n%s", err, &stderr)
	}
	if err := json.Unmarshal(out, into); err != nil {
		return fmt.Errorf("read what the agent says of its cost: %w", err)
	}
	return nil
}

// names tells pods by their addresses.
type names map[netip.Addr]aggregate.Identity

func (n names) Lookup(a netip.Addr, _ time.Duration) aggregate.Identity { return n[a] }
