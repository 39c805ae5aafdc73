// Soak lets an agent live for hours on a node where much happens, and tells whether anything of it grows:
//
//	go run ./test/soak -hours 8
//
// Pods come and go and are renamed, queues are replaced, 100,000 flows pass, views are opened and broken off, the API server
// goes away. Memory, goroutines, descriptors, lost records and what is in the kernel's maps are measured; a line through each,
// by least squares, must be flat. It needs root, and build/tracer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sync/errgroup"

	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/test/apiserver"
	"tracer/test/labagent"
	"tracer/test/scrape"
)

const (
	apiAddress = "127.0.0.1:6443"
	// warmUp is what a long run leaves out at its beginning: the agent keeps a history of minutes and learns what is usual. A
	// shorter run leaves out its first third.
	warmUp = 20 * time.Minute
)

func main() {
	hours := flag.Float64("hours", 8, "how long, in hours: 0.05 are three minutes")
	flows := flag.Int("flows", 100_000, "how many flows in all")
	binary := flag.String("tracer", "build/tracer", "the program")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := soak(ctx, *binary, time.Duration(*hours*float64(time.Hour)), *flows)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "soak:", err)
	}
	if err != nil || !ok {
		os.Exit(1)
	}
}

func soak(ctx context.Context, binary string, length time.Duration, flows int) (ok bool, err error) {
	dir, err := os.MkdirTemp("", "soak-")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	l, err := lab.Up(ctx, lab.Options{
		Name: "soak" + strconv.FormatInt(int64(os.Getpid()), 36), RunDir: filepath.Join(dir, "lab"), Load: load.Config{Rate: 10, Size: 200, TCP: time.Second},
	})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	c := &cluster{Lab: l}
	c.api = apiserver.New(func() (listener net.Listener, err error) {
		err = l.Node(1).Do(func() (err error) {
			listener, err = net.Listen("tcp", apiAddress)
			return err
		})
		return listener, err
	})
	if err := c.api.Come(); err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, c.api.GoAway()) }()
	for _, p := range l.Pods() {
		if p.Node == "node1" {
			c.api.SetPod(p.PodName, p.Node, p.Address.String())
		}
	}
	a, p, err := startAgent(ctx, l, binary, dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, a.Stop()) }()
	measured, lived, err := c.live(ctx, a, p, length, flows)
	if err != nil && len(measured) == 0 {
		return false, fmt.Errorf("%w; the agent says at last:\n%s", err, a.Said())
	}
	if err != nil { // what was measured until then is shown all the same
		err = fmt.Errorf("ended after %s of %s: %w; the agent says at last:\n%s", lived.Round(time.Second), length, err, a.Said())
	}
	n := &c.counted
	fmt.Printf("%s: %d pods came and went, %d with a queue of their own (hook attached %d times), %d devices renamed, %d qdiscs replaced, "+
		"%d flows and %d connections (%d unanswered), %d views, API server away %d times\n\n",
		lived.Round(time.Second), n.pods.Load(), n.queues.Load(), p.podQueues, n.renames.Load(), n.qdiscs.Load(),
		n.flows.Load(), n.connections.Load(), n.unanswered.Load(), n.views.Load(), n.absences.Load())
	rows, short := judge(measured, min(lived/3, warmUp))
	err = errors.Join(err, short)
	write(os.Stdout, rows)
	for _, r := range rows {
		if r.verdict() == grows {
			err = errors.Join(err, fmt.Errorf("%s grows by %.3g %s", r.name, r.growth, r.unit))
		}
	}
	return err == nil, err
}

// live does all that happens, and measures, until the time is over, somebody interrupts it, or something fails. It returns what was
// measured until then, and how long that was.
func (c *cluster) live(ctx context.Context, a *labagent.Agent, p *process, length time.Duration, flows int) (measured map[string]*series, lived time.Duration, err error) {
	interrupted := ctx
	ctx, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	ended := errors.New("over")
	if err := c.echo(ctx); err != nil {
		return nil, 0, err
	}
	began := time.Now()
	// Of what happens in an hour a run of minutes has each kind some times.
	every := func(most time.Duration) time.Duration { return max(min(most, length/30), 200*time.Millisecond) }
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return c.podsComeAndGo(ctx, every(10*time.Second), 5) })
	group.Go(func() error { return c.qdiscsChange(ctx, every(30*time.Second)) })
	// For a fifth of the time or less: its clients wait for up to a minute before they ask again, which is much of a short run.
	group.Go(func() error {
		return c.apiServerGoes(ctx, min(2*time.Minute, length/3), min(30*time.Second, length/60))
	})
	group.Go(func() error { return c.manyFlows(ctx, float64(flows)/length.Seconds()*1.05) })
	group.Go(func() error { return c.views(ctx, a.Socket, time.Second) })
	group.Go(func() error { return c.views(ctx, a.Socket, 3*time.Second) })
	measured = map[string]*series{}
	group.Go(func() error {
		p.lastSeconds = func() float64 { return time.Since(began).Seconds() }
		tick := time.NewTicker(max(min(length/150, 10*time.Second), time.Second))
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				if errors.Is(ctx.Err(), context.DeadlineExceeded) {
					return ended
				}
				return context.Cause(ctx)
			case <-tick.C:
			}
			values, err := p.measure(ctx)
			if err != nil {
				if ctx.Err() != nil {
					continue
				}
				return err
			}
			for name, v := range values {
				if measured[name] == nil {
					measured[name] = new(series)
				}
				measured[name].add(time.Since(began), v)
			}
		}
	})
	err = group.Wait()
	lived = time.Since(began)
	switch {
	case interrupted.Err() != nil:
		err = errors.New("interrupted")
	case errors.Is(err, ended):
		err = nil
	}
	return measured, lived, err
}

// startAgent starts the agent, and returns it when it answers, with what is measured of it.
func startAgent(ctx context.Context, l *lab.Lab, binary, dir string) (a *labagent.Agent, p *process, err error) {
	config, err := apiserver.Kubeconfig(dir, apiAddress)
	if err != nil {
		return nil, nil, err
	}
	a, err = labagent.Start(l, binary, dir, "--kubeconfig", config, "--node-name", "node1")
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("not within two minutes"))
	defer cancel()
	if _, err := a.Await(ctx, "it answers", func([]scrape.Sample) bool { return true }); err != nil {
		return nil, nil, errors.Join(err, a.Stop())
	}
	return a, &process{pid: a.Pid, own: []string{a.RunDir, a.State}, mapsByNumber: map[ebpf.MapID]openMap{}, scrape: a.Scrape}, nil
}
