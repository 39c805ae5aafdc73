package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"tracer/internal/lab"
	"tracer/internal/lab/load"
	"tracer/test/steady"
)

// play is one run of a scenario in its lab.
type play struct {
	playing
	cluster
	tracer     string
	window     time.Duration
	logs       string
	dir        string // of the lab, and of what tracer keeps
	lab        *lab.Lab
	traffic    []*flow
	endTraffic context.CancelFunc
}

// outcome is what came of it.
type outcome struct {
	playing
	expected expectation // with the seed's names
	said     said
	pods     []string      // the pods' devices on the nodes
	printed  []byte        // what tracer printed
	took     time.Duration // until the verdict, from when the fault was there or tracer was asked
	stall    steady.Stall  // of the machine in the window
	tries    int           // how often it was played
	err      error         // tracer failed (errTracer), or it was not played as it should: the fault was not real, a step failed
}

// errTracer is wrapped by errors that are tracer's own, and not the rig's.
var errTracer = errors.New("tracer fails")

func (o outcome) named() bool { return o.err == nil && o.expected.named(o.said, o.pods) }
func (o outcome) alarm() bool { return o.err == nil && o.expected.alarms(o.said) }

// run builds the lab, plays the scenario, and takes the lab down.
func (p *play) run(ctx context.Context) (o outcome) {
	o = outcome{playing: p.playing, expected: p.Expect}
	var err error
	if p.cluster, err = p.drawCluster(); err != nil {
		o.err = err
		return o
	}
	if p.dir, err = os.MkdirTemp("", "scoreboard-"); err != nil {
		o.err = err
		return o
	}
	defer os.RemoveAll(p.dir)
	p.options.RunDir = p.dir
	if p.lab, err = lab.Up(ctx, p.options); err != nil {
		o.err = err
		return o
	}
	defer func() { o.err = errors.Join(o.err, p.lab.Down()) }()
	p.learn(p.lab, p.options)
	if o.expected, o.err = p.fillExpectation(); o.err != nil {
		return o
	}
	for _, pod := range p.lab.Pods() {
		o.pods = append(o.pods, pod.Device)
	}
	defer p.stopTraffic()
	if err := p.act(ctx, &o); err != nil {
		o.err = errors.Join(err, o.err)
	}
	return o
}

// act is what happens while the lab is up.
func (p *play) act(ctx context.Context, o *outcome) error {
	defer func() {
		for _, s := range p.After {
			_, err := p.do(context.WithoutCancel(ctx), s)
			o.err = errors.Join(o.err, err)
		}
	}()
	for _, s := range p.Prepare {
		if _, err := p.do(ctx, s); err != nil {
			return err
		}
	}
	if err := p.startTraffic(ctx); err != nil {
		return err
	}
	endAgent, err := p.startAgent(ctx)
	if err != nil {
		return err
	}
	defer func() { o.err = errors.Join(o.err, endAgent()) }()
	for _, s := range p.Fault {
		if _, err := p.do(ctx, s); err != nil {
			return err
		}
	}
	begun := time.Now()
	w := window{p: p}
	defer func() { o.err = errors.Join(o.err, w.close()) }()
	wait := time.Duration(p.Diagnose.Wait * float64(time.Second))
	if p.Diagnose.Agent { // it looks back, as far as its window is long
		back := min(wait, p.window)
		if err := sleep(ctx, wait-back); err != nil {
			return err
		}
		if err := w.open(ctx); err != nil {
			return err
		}
		wait = back
	}
	if err := sleep(ctx, wait); err != nil {
		return err
	}
	o.said, o.printed, err = p.ask(ctx, &w)
	o.took = time.Since(begun)
	if err != nil {
		return err
	}
	asked := load.Monotonic()
	notReal := errors.Join(w.real.end(ctx), p.idle(o.said, asked), w.close())
	o.stall = w.stall
	if notReal != nil {
		err = errors.Join(err, fmt.Errorf("it was not played as it should: %w", notReal))
	}
	return err
}

// idle says so where tracer saw no traffic, at the end of its window, and there was none: nobody may have had a CPU.
func (p *play) idle(said said, end time.Duration) error {
	if said.Verdict != "no-traffic" {
		return nil
	}
	seen, err := p.lab.Oracle(end-p.window, end)
	if err == nil && seen.Request.Received+seen.Response.Received+seen.TCP.Count == 0 {
		err = errors.New("nothing arrived while tracer watched")
	}
	return err
}

// on is the node that is asked.
func (p *play) on() (lab.Namespace, error) {
	name := p.Diagnose.On
	if name == "" {
		name = "node1"
	}
	name, err := p.fill(name)
	if err != nil {
		return "", err
	}
	return namespace(p.lab, name)
}

// ask runs `tracer diagnose`. Where that traces by itself, it opens the window.
func (p *play) ask(ctx context.Context, w *window) (_ said, printed []byte, _ error) {
	ns, err := p.on()
	if err != nil {
		return said{}, nil, err
	}
	args := []string{"diagnose", "-o", "json", "--duration", p.window.String(), "--run-dir", p.dir, "--log-level", "debug"}
	for _, flag := range p.Diagnose.Flags {
		flag, err := p.fill(flag)
		if err != nil {
			return said{}, nil, err
		}
		args = append(args, flag)
	}
	// An emulated machine takes long to load the programs, the more so several at a time.
	limited, cancel := context.WithTimeout(ctx, p.window+4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(limited, p.tracer, args...)
	var out bytes.Buffer
	cmd.Stdout = &out
	log, err := cmd.StderrPipe()
	if err != nil {
		return said{}, nil, err
	}
	if err := inside(ns, cmd.Start); err != nil {
		return said{}, nil, fmt.Errorf("tracer %s: %w", strings.Join(args, " "), err)
	}
	complaint, err := w.openAt(ctx, log, cancel)
	ended := cmd.Wait()
	printed = append(out.Bytes(), complaint...)
	if err != nil {
		return said{}, printed, err
	}
	code := cmd.ProcessState.ExitCode()
	wanted := map[int][]string{0: {"healthy"}, 2: {"fault"}, 3: {"no-traffic", "blind"}}[code]
	if wanted == nil {
		return said{}, printed, fmt.Errorf("%w: tracer %s: %w: %s", errTracer, strings.Join(args, " "), ended, lastLine(string(complaint)))
	}
	if w.real == nil {
		return said{}, printed, fmt.Errorf("%w: it did not log %s", errTracer, tracingStarted)
	}
	r, err := parseReport(out.Bytes())
	if err == nil && !slices.Contains(wanted, r.Verdict) {
		err = fmt.Errorf("it exits with %d and says %q", code, r.Verdict)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errTracer, err)
	}
	return r, printed, err
}

// startAgent starts an agent where the scenario wants one, and waits only until it answers.
func (p *play) startAgent(ctx context.Context) (end func() error, err error) {
	if !p.Diagnose.Agent {
		return func() error { return nil }, nil
	}
	ns, err := p.on()
	if err != nil {
		return nil, err
	}
	args := []string{"agent", "--run-dir", p.dir, "--state-dir", p.dir}
	if p.Diagnose.Usual != nil {
		if err := writeUsual(p.dir, p.Diagnose.Usual, p.Diagnose.UsualRequests); err != nil {
			return nil, err
		}
	}
	cmd := exec.Command(p.tracer, args...)
	log, err := os.Create(filepath.Join(p.logs, p.String()+"-agent.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	if err := inside(ns, cmd.Start); err != nil {
		return nil, fmt.Errorf("tracer agent: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	end = func() error {
		err := cmd.Process.Signal(os.Interrupt)
		if ended := <-done; ended != nil {
			err = errors.Join(err, fmt.Errorf("%w: the agent: %w, see %s", errTracer, ended, log.Name()))
		}
		return err
	}
	for until := time.Now().Add(time.Minute); time.Now().Before(until); {
		if sockets, _ := filepath.Glob(filepath.Join(p.dir, "*.sock")); len(sockets) > 0 {
			return end, nil
		}
		if err := sleep(ctx, 20*time.Millisecond); err != nil {
			return nil, errors.Join(err, end())
		}
	}
	return nil, errors.Join(fmt.Errorf("the agent does not answer: see %s", log.Name()), end())
}

// fillExpectation puts the seed's names into what is expected.
func (p *play) fillExpectation() (expectation, error) {
	e := p.Expect
	e.Findings = slices.Clone(e.Findings)
	var errs []error
	for i := range e.Findings {
		if device := e.Findings[i].Device; device != nil {
			filled, err := p.fill(*device)
			e.Findings[i].Device = &filled
			errs = append(errs, err)
		}
	}
	return e, errors.Join(errs...)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}
