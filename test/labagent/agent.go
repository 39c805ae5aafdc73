// Package labagent runs tracer agent on the first node of a lab, for programs that measure it there.
package labagent

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tracer/internal/lab"
	"tracer/test/scrape"
)

const (
	metricsAddress = "127.0.0.1:9435"
	healthAddress  = "127.0.0.1:9436"
)

// Agent is one that runs.
type Agent struct {
	Pid           int
	RunDir, State string // its directories
	Socket        string

	command *exec.Cmd
	ended   chan error
	log     string
	metrics *scrape.Client
}

// Start starts a program's agent, which has its directories and its log in dir. It has the memory limit of the chart.
func Start(l *lab.Lab, program, dir string, arguments ...string) (*Agent, error) {
	a := &Agent{
		RunDir: filepath.Join(dir, "run"), State: filepath.Join(dir, "state"), log: filepath.Join(dir, "agent.log"),
		ended: make(chan error, 1), metrics: scrape.New(l.Node(1).Do),
	}
	a.Socket = filepath.Join(a.RunDir, "agent.sock")
	for _, d := range []string{a.RunDir, a.State} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	log, err := os.Create(a.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	a.command = exec.Command(program, append([]string{
		"agent", "--run-dir", a.RunDir, "--state-dir", a.State, "--listen", metricsAddress, "--health-listen", healthAddress,
	}, arguments...)...)
	a.command.Stdout, a.command.Stderr = log, log
	a.command.Env = append(os.Environ(), "GOMEMLIMIT=180MiB")
	if err := l.Node(1).Do(a.command.Start); err != nil {
		return nil, err
	}
	a.Pid = a.command.Process.Pid
	go func() { a.ended <- a.command.Wait() }()
	return a, nil
}

// Scrape reads its metrics.
func (a *Agent) Scrape(ctx context.Context) ([]scrape.Sample, error) {
	return a.metrics.Read(ctx, metricsAddress)
}

// Await scrapes until what it is told holds, and returns when that was. It fails when ctx or the agent ends.
func (a *Agent) Await(ctx context.Context, what string, done func([]scrape.Sample) bool) (time.Time, error) {
	for {
		all, err := a.Scrape(ctx)
		if err == nil && done(all) {
			return time.Now(), nil
		}
		select {
		case <-ctx.Done():
			return time.Time{}, fmt.Errorf("wait until %s: %w; the agent says\n%s", what, errors.Join(context.Cause(ctx), err), a.Said())
		case err := <-a.ended:
			a.ended <- err
			return time.Time{}, fmt.Errorf("wait until %s: the agent ended: %w, saying\n%s", what, cmp.Or(err, errors.New("exit code 0")), a.Said())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Stop ends the agent, which must end well.
func (a *Agent) Stop() error {
	if err := a.command.Process.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the agent ended before: %w, saying\n%s", err, a.Said())
	}
	select {
	case err := <-a.ended:
		if err != nil {
			return fmt.Errorf("the agent: %w, saying\n%s", err, a.Said())
		}
		return nil
	case <-time.After(time.Minute):
		return errors.Join(errors.New("the agent does not end"), a.command.Process.Kill())
	}
}

// Said is the end of its log, for messages.
func (a *Agent) Said() string {
	const lines = 20
	file, err := os.Open(a.log)
	if err != nil {
		return err.Error()
	}
	defer file.Close()
	var last []string
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if last = append(last, scanner.Text()); len(last) > lines {
			last = last[1:]
		}
	}
	return strings.Join(last, "\n")
}
