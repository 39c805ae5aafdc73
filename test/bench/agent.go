package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"

	"tracer/internal/agent"
	"tracer/internal/aggregate"
	"tracer/internal/governor"
	"tracer/internal/loader"
)

// patience is how long the agent may take to count the last packets.
const patience = 5 * time.Second

// nodeLoad is what an agent is shown.
type nodeLoad struct {
	Flows   int `json:"flows"`
	Pods    int `json:"pods"`
	Devices int `json:"devices"` // of pods, which may share one
	Rate    int `json:"rate"`    // packets a second
	// Watch is how long it is measured, once each flow has been seen.
	Watch time.Duration `json:"-"`
}

// warm is how long it takes until each flow has been seen, and the agent is at rest.
func (l nodeLoad) warm() time.Duration {
	return max(time.Second, time.Duration(l.Flows)*time.Second/time.Duration(l.Rate))
}

// agentCost is what an agent takes for a load.
type agentCost struct {
	nodeLoad
	Records uint64 `json:"records"` // that it has counted
	// Cores is its CPU time a second, without the programs'. CPUSeconds is the same for a million packets.
	Cores      float64 `json:"cores"`
	CPUSeconds float64 `json:"cpu_seconds_per_million_packets"`
	// ProgramNs is what the programs take for a packet, with the kernel's statistics of that.
	ProgramNs float64 `json:"program_ns_per_packet"`
	// StartSeconds is how long it takes to load, and to attach to all devices; StartCPUSeconds its CPU time meanwhile.
	StartSeconds    float64 `json:"start_seconds"`
	StartCPUSeconds float64 `json:"start_cpu_seconds"`
	ResidentBytes   uint64  `json:"resident_bytes"`
	// PeakBytes is the most that was ever resident: each scan maps the in-flight table for some milliseconds.
	PeakBytes uint64 `json:"peak_bytes"`
}

// order is what a process that is an agent is told.
type order struct {
	Load  nodeLoad
	Watch time.Duration
	Dir   string // for the agent's files
}

func readOrder() (o order, err error) {
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return o, fmt.Errorf("read what to do: %w", err)
	}
	return o, nil
}

// answer is what it says at its end.
type answer struct {
	Agent  agentCost
	Kernel kernelMemory
}

// spent is what was spent up to a moment.
type spent struct {
	at       time.Time
	agent    time.Duration // CPU time of the process
	programs float64       // seconds
	packets  int
}

// beAgent traces the network namespace of its process, which is empty, while pods there send over the node's uplink;
// then it says on standard output what that took.
func beAgent(ctx context.Context) error {
	o, err := readOrder()
	if err != nil {
		return err
	}
	agent.CollectGarbageEarly()
	// This thread's network namespace is entered and left, and the sender dies with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	statistics, err := ebpf.EnableStats(unix.BPF_STATS_RUN_TIME)
	if err != nil {
		return fmt.Errorf("have the kernel time programs: %w", err)
	}
	defer statistics.Close()
	t, err := newTraffic(o.Load)
	if err != nil {
		return err
	}
	defer t.Close()
	before, err := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	if err != nil {
		return err
	}
	start := time.Now()
	a, err := agent.Start(agent.Options{Loader: loader.Options{Dir: o.Dir}, Namer: t.names(), Limits: unlimited()})
	if err != nil {
		return err
	}
	started := time.Since(start)
	after, err := cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	if err != nil {
		return errors.Join(err, a.Close())
	}
	debug.FreeOSMemory() // as the command does
	cost, err := watchAgent(ctx, a, t, o.Watch)
	cost.nodeLoad, cost.StartSeconds, cost.StartCPUSeconds = o.Load, thousandths(started.Seconds()), thousandths((after - before).Seconds())
	var kernel kernelMemory
	if err == nil {
		kernel, err = readKernelMemory()
	}
	if err := errors.Join(err, a.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(answer{cost, kernel})
}

// watchAgent runs the agent under the load.
func watchAgent(ctx context.Context, a *agent.Agent, t *traffic, watch time.Duration) (c agentCost, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	defer func() {
		cancel()
		err = errors.Join(err, <-ended)
	}()
	if err := t.send(ctx, t.load.warm()); err != nil {
		return c, err
	}
	before, err := spentBy(a, t)
	if err != nil {
		return c, err
	}
	if err := errors.Join(t.send(ctx, watch), context.Cause(ctx)); err != nil {
		return c, err
	}
	after, err := spentBy(a, t)
	if err != nil {
		return c, err
	}
	// The agent's reader may be behind, most of all on a machine that is busy. Without the flows: nobody looks at those.
	for start := time.Now(); int(a.SnapshotWithoutFlows().Records) < t.sent && time.Since(start) < patience; {
		time.Sleep(100 * time.Millisecond)
	}
	c.Records = a.SnapshotWithoutFlows().Records
	if int(c.Records) < t.sent-t.sent/100 {
		return c, fmt.Errorf("the agent saw %d of %d packets", c.Records, t.sent)
	}
	c.Cores = thousandths((after.agent - before.agent).Seconds() / after.at.Sub(before.at).Seconds())
	if packets := after.packets - before.packets; packets > 0 {
		c.CPUSeconds = thousandths((after.agent - before.agent).Seconds() / float64(packets) * 1e6)
		c.ProgramNs = tenths((after.programs - before.programs) / float64(packets) * 1e9)
	}
	c.ResidentBytes, c.PeakBytes, err = residentOf(os.Getpid())
	return c, err
}

// unlimited follows every packet, whatever that costs.
func unlimited() governor.Limits { return governor.Limits{MaxRecords: 1 << 30, MaxCPU: 1 << 10} }

func spentBy(a *agent.Agent, t *traffic) (s spent, err error) {
	programs, err := a.Loader().Programs()
	if err != nil {
		return s, err
	}
	for _, p := range programs {
		s.programs += p.Seconds
	}
	s.at, s.packets = time.Now(), t.sent
	s.agent, err = cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID)
	return s, err
}

// measureAgent runs a process as beAgent.
func measureAgent(ctx context.Context, load nodeLoad) (agentCost, kernelMemory, error) {
	var said answer
	err := inNamespace(ctx, "agent", order{Load: load, Watch: load.Watch}, &said)
	return said.Agent, said.Kernel, err
}

// measureView runs a process as beViewed; each is how long each half of a round is.
func measureView(ctx context.Context, each time.Duration) (c viewCost, err error) {
	err = inNamespace(ctx, "viewed", order{Load: longLoad(each), Watch: each}, &c)
	return c, err
}

// inNamespace runs this program as another process, in a network namespace that ends with it, and reads what it says.
func inNamespace(ctx context.Context, be string, o order, into any) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the benchmark's own program: %w", err)
	}
	if o.Dir, err = os.MkdirTemp("", "tracer-bench-"); err != nil {
		return fmt.Errorf("make a directory for the agent: %w", err)
	}
	defer os.RemoveAll(o.Dir)
	told, err := json.Marshal(o)
	if err != nil {
		return err
	}
	// The child is to die with this thread, not with one that Go happens to end.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd := exec.CommandContext(ctx, self, "-be", be)
	cmd.Stdin = bytes.NewReader(told)
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

// Version never changes: in a cluster at rest it seldom does.
func (names) Version() (version uint64, since time.Duration) { return 1, 0 }
