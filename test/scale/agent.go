package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tracer/test/scrape"
)

const metricsAddress = "127.0.0.1:9435"

// agent is tracer agent on the first node.
type agent struct {
	command *exec.Cmd
	ended   chan error
	log     string
	metrics *scrape.Client
}

func (n *firstNode) startAgent(binary, dir string, arguments ...string) (*agent, error) {
	run, state := filepath.Join(dir, "run"), filepath.Join(dir, "state")
	for _, d := range []string{run, state} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	a := &agent{log: filepath.Join(dir, "agent.log"), ended: make(chan error, 1), metrics: scrape.New(n.Node(1).Do)}
	log, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	a.command = exec.Command(binary, append([]string{
		"agent", "--run-dir", run, "--state-dir", state, "--listen", metricsAddress, "--health-listen", "127.0.0.1:9436",
	}, arguments...)...)
	a.command.Stdout, a.command.Stderr = log, log
	a.command.Env = append(os.Environ(), "GOMEMLIMIT=180MiB") // as in the chart
	if err := n.Node(1).Do(a.command.Start); err != nil {
		return nil, err
	}
	go func() { a.ended <- a.command.Wait() }()
	return a, nil
}

func (a *agent) scrape(ctx context.Context) ([]scrape.Sample, error) {
	return a.metrics.Read(ctx, metricsAddress)
}

// await scrapes until what it is told holds, and returns when that was.
func (a *agent) await(ctx context.Context, what string, done func([]scrape.Sample) bool) (time.Time, error) {
	for {
		all, err := a.scrape(ctx)
		if err == nil && done(all) {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("wait until %s: %w; the agent says %s", what, context.Cause(ctx), tail(a.log))
		case err := <-a.ended:
			a.ended <- err
			return time.Time{}, fmt.Errorf("wait until %s: the agent ended: %w, saying %s", what, cmp.Or(err, errors.New("exit code 0")), tail(a.log))
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// memory is what is resident of the agent, and the most that was, in bytes.
func (a *agent) memory() (now, most uint64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", a.command.Process.Pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		f := strings.Fields(line)
		if len(f) != 3 || f[2] != "kB" {
			continue
		}
		kib, err := strconv.ParseUint(f[1], 10, 64)
		switch {
		case err != nil:
			return 0, 0, fmt.Errorf("memory of the agent: %q: %w", line, err)
		case f[0] == "VmRSS:":
			now = kib << 10
		case f[0] == "VmHWM:":
			most = kib << 10
		}
	}
	return now, most, nil
}

// stop ends the agent, which must end well.
func (a *agent) stop() error {
	if err := a.command.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the agent ended before: %w, saying %s", err, tail(a.log))
	}
	select {
	case err := <-a.ended:
		if err != nil {
			return fmt.Errorf("the agent: %w, saying %s", err, tail(a.log))
		}
		return nil
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the agent does not end"), a.command.Process.Kill())
	}
}

// tail is the end of the agent's log, for messages.
func tail(name string) string {
	data, err := os.ReadFile(name)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-2000):])
}
