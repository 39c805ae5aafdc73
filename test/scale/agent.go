package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const metricsAddress = "127.0.0.1:9435"

// agent is tracer agent on the first node.
type agent struct {
	command *exec.Cmd
	ended   chan error
	log     string
	client  *http.Client
}

func (n *firstNode) startAgent(binary, dir string, arguments ...string) (*agent, error) {
	run, state := filepath.Join(dir, "run"), filepath.Join(dir, "state")
	for _, d := range []string{run, state} {
		if err := os.MkdirAll(d, 0o700); err != nil {
			return nil, err
		}
	}
	a := &agent{log: filepath.Join(dir, "agent.log"), ended: make(chan error, 1)}
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
	a.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
		err = n.Node(1).Do(func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, address)
			return err
		})
		return conn, err
	}}}
	return a, nil
}

// sample is a series with its value.
type sample struct {
	name, labels string
	value        float64
}

// scrape returns the agent's series.
func (a *agent) scrape(ctx context.Context) ([]sample, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+metricsAddress+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var all []sample
	scanner := bufio.NewScanner(response.Body)
	scanner.Buffer(nil, 1<<20)
	for scanner.Scan() {
		line := scanner.Text()
		space := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || space < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[space+1:], 64)
		if err != nil {
			return nil, fmt.Errorf("scrape %q: %w", line, err)
		}
		name, labels, _ := strings.Cut(line[:space], "{")
		all = append(all, sample{name, labels, value})
	}
	return all, scanner.Err()
}

// await scrapes until what it is told holds, and returns when that was.
func (a *agent) await(ctx context.Context, what string, done func([]sample) bool) (time.Time, error) {
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

// cpu is what the agent has used of it.
func (a *agent) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", a.command.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var ticks time.Duration
	for _, i := range []int{11, 12} { // utime and stime, of which there are 100 in a second
		n, err := strconv.ParseInt(string(f[i]), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("CPU time of the agent: %w", err)
		}
		ticks += time.Duration(n)
	}
	return ticks * 10 * time.Millisecond, nil
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
