package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"tracer/internal/agent"
	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/loader"
	"tracer/internal/overview"
	"tracer/internal/top"
	"tracer/test/terminal"
)

// Limits of the live view.
const (
	viewShareLimit  = 0.05 // of one core
	viewMemoryLimit = 80 << 20
	firstFrameLimit = 300 * time.Millisecond
	agentRiseLimit  = 0.10
)

// How the view is measured.
const (
	viewRounds = 5
	questions  = 20 // of a round
	viewWidth  = 160
	viewHeight = 50
	forever    = time.Duration(math.MaxInt64)
)

// viewCost is what the live view costs while it shows traffic of 10,000 flows, and by how much the agent's own cost
// rises with it.
type viewCost struct {
	Share         float64 `json:"share_of_core"`
	ResidentBytes uint64  `json:"resident_bytes"` // the most that ever was
	FirstFrameMs  float64 `json:"first_frame_ms"` // from the program's start to the screen
	AgentShare    float64 `json:"agent_share_of_core"`
	AgentRise     float64 `json:"agent_rise"` // relative to AgentShare
	// PageShare and PageRise are the same of tracer ui with a page open.
	PageShare float64 `json:"page_share_of_core"`
	PageRise  float64 `json:"page_agent_rise"`
	// QuestionMs is the CPU time of one verdict that somebody asks for, as kubectl tracer does of each agent: by the socket, and read there.
	QuestionMs float64 `json:"question_cpu_ms"`
}

func (v *viewCost) exceeded() (limits []string) {
	exceed := func(is bool, format string, args ...any) {
		if is {
			limits = append(limits, fmt.Sprintf(format, args...))
		}
	}
	exceed(v.Share > viewShareLimit, "the view takes %.1f %% of a core, limit %.0f", 100*v.Share, 100*viewShareLimit)
	exceed(v.ResidentBytes > viewMemoryLimit, "the view has %.1f MiB resident, limit %d", kibibytes(v.ResidentBytes)/1024, viewMemoryLimit>>20)
	exceed(v.FirstFrameMs > firstFrameLimit.Seconds()*1000, "the view's first frame takes %.0f ms, limit %d", v.FirstFrameMs, firstFrameLimit.Milliseconds())
	exceed(v.AgentRise > agentRiseLimit, "the agent's cost rises by %.0f %% with a view, limit %.0f", 100*v.AgentRise, 100*agentRiseLimit)
	exceed(v.PageRise > agentRiseLimit, "the agent's cost rises by %.0f %% with a page open, limit %.0f", 100*v.PageRise, 100*agentRiseLimit)
	return limits
}

// source is an agent as a socket serves it.
type source struct{ *agent.Agent }

func (s source) Overviews(ctx context.Context, q overview.Query) iter.Seq2[*overview.Overview, error] {
	return s.Agent.Overviews(ctx, q, "node1", func() overview.About {
		return overview.About{Version: "bench", Node: "node1", Started: s.Started(), SampleRatio: 1}
	})
}

func (s source) Status() api.Status { return api.Status{Version: "bench", Node: "node1"} }

func (s source) Diagnose(_ context.Context, window time.Duration) (diagnose.Report, error) {
	now, err := s.TakeSnapshot()
	if err != nil {
		return diagnose.Report{}, err
	}
	return diagnose.Diagnose("node1", s.SnapshotBefore(window), now), nil
}

func (s source) ActiveFindings() api.ActiveFindings { return api.ActiveFindings{} }

// beView is the live view, from the agent on that socket.
func beView(ctx context.Context, socket string) error {
	client := api.Dial(socket)
	defer client.Close()
	o := top.Options{Source: client, Query: overview.Query{By: overview.ByPair, Interval: 2 * time.Second}, Version: "bench", Now: time.Now}
	return top.Run(ctx, o, os.Stdin, os.Stdout)
}

// beViewed traces the network namespace of its process as beAgent does, has a live view come and go, and says on
// standard output what that costs.
func beViewed(ctx context.Context) error {
	o, err := readOrder()
	if err != nil {
		return err
	}
	agent.CollectGarbageEarly()
	// This thread's network namespace is entered and left, and the sender dies with it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	t, err := newTraffic(o.Load)
	if err != nil {
		return err
	}
	defer t.Close()
	a, err := agent.Start(agent.Options{
		Loader: loader.Options{Dir: o.Dir}, Namer: t.names(), Limits: unlimited(),
	})
	if err != nil {
		return err
	}
	socket := filepath.Join(o.Dir, "agent.sock")
	server, err := api.NewServer(api.ServerOptions{Path: socket, Source: source{a}, Names: t.names()})
	if err != nil {
		return errors.Join(err, a.Close())
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	a.SetNode("node1")
	group, running := errgroup.WithContext(ctx)
	group.Go(func() error { return a.Run(running) })
	group.Go(func() error { return server.Serve(running) })
	var cost viewCost
	ourCost := func() (time.Duration, error) { return cpuTime(unix.CLOCK_PROCESS_CPUTIME_ID) }
	group.Go(func() (err error) {
		defer cancel()
		cost, err = watchView(running, socket, ourCost, o.Watch)
		return err
	})
	err = t.send(running, forever)
	if err := errors.Join(err, group.Wait(), a.Close()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(cost)
}

// processClock is another process's CPU clock, as clock_getcpuclockid makes it (linux/posix-timers.h).
func processClock(pid int) int32 { return int32(^pid<<3 | 2) }

func cpuTime(clock int32) (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(clock, &t); err != nil {
		return 0, fmt.Errorf("read a CPU clock: %w", err)
	}
	return time.Duration(t.Nano()), nil
}

// watchView measures without a view and with one, in turn, so that both meet the same machine.
func watchView(ctx context.Context, socket string, ours func() (time.Duration, error), each time.Duration) (c viewCost, err error) {
	if err := pause(ctx, each); err != nil { // every flow has been seen then
		return c, err
	}
	var without, with, view, withPage, page, asked, spent float64
	var frames []float64
	for range viewRounds {
		alone, err := spentIn(ctx, each, ours)
		if err != nil {
			return c, err
		}
		v, first, err := startView(ctx, socket)
		if err != nil {
			return c, err
		}
		pid, err := v.PID()
		if err != nil {
			return c, errors.Join(err, v.Close())
		}
		before, err1 := cpuTime(processClock(pid))
		watched, err2 := spentIn(ctx, each, ours)
		after, err3 := cpuTime(processClock(pid))
		_, peak, err4 := residentOf(pid)
		if err := errors.Join(err1, err2, err3, err4, v.Close()); err != nil {
			return c, err
		}
		paged, pageSpent, err := watchPage(ctx, socket, ours, each)
		if err != nil {
			return c, err
		}
		withPage, page = withPage+paged, page+pageSpent
		all, took, err := ask(ctx, socket, ours)
		if err != nil {
			return c, err
		}
		asked += all - alone*took/each.Seconds()
		without, with, view, spent = without+alone, with+watched, view+(after-before).Seconds(), spent+each.Seconds()
		frames = append(frames, first.Seconds()*1000)
		c.ResidentBytes = max(c.ResidentBytes, peak)
	}
	c.Share = round3(view / spent)
	c.AgentShare = round3(without / spent)
	c.AgentRise = round3(with/without - 1)
	c.PageShare = round3(page / spent)
	c.PageRise = round3(withPage/without - 1)
	c.QuestionMs = tenths(1000 * asked / viewRounds / questions)
	c.FirstFrameMs = tenths(quartilesOf(frames).median)
	return c, nil
}

// ask asks for verdicts, one after the other. It returns the CPU time and the time in seconds that all of them took.
func ask(ctx context.Context, socket string, ours func() (time.Duration, error)) (spent, took float64, err error) {
	client := api.Dial(socket)
	defer client.Close()
	before, err := ours()
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	for range questions {
		if _, err := client.Diagnose(ctx, 2*time.Second); err != nil {
			return 0, 0, err
		}
	}
	after, err := ours()
	return (after - before).Seconds(), time.Since(began).Seconds(), err
}

func round3(v float64) float64 { return math.Round(v*1000) / 1000 }

// spentIn is the CPU time in seconds that a clock says was spent meanwhile.
func spentIn(ctx context.Context, d time.Duration, clock func() (time.Duration, error)) (float64, error) {
	before, err := clock()
	if err != nil {
		return 0, err
	}
	if err := pause(ctx, d); err != nil {
		return 0, err
	}
	after, err := clock()
	return (after - before).Seconds(), err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startView starts a view in a terminal and waits for its first rows.
func startView(ctx context.Context, socket string) (*terminal.Terminal, time.Duration, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, 0, err
	}
	start := time.Now()
	v, err := terminal.Start(viewWidth, viewHeight, nil, self, "-be", "view", "-socket", socket)
	if err != nil {
		return nil, 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := v.Wait(ctx, "web-"); err != nil {
		return nil, 0, errors.Join(err, v.Close())
	}
	return v, time.Since(start), nil
}
