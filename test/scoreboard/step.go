package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v3"

	"tracer/internal/lab"
)

// step is a command and where it is given: in a node's, a pod's or the wire's namespace by bash, outside of all of them, or
// to `tracer lab fault`.
type step struct {
	place, command string
}

// labFault is the place of a step that gives the words of `tracer lab fault`.
const labFault = "lab fault"

// machine is the place of a step outside of the lab. Only in a guest, and alone, may one change anything there.
const machine = "machine"

func (s *step) UnmarshalYAML(node *yaml.Node) error {
	var one map[string]string
	if err := node.Decode(&one); err != nil || len(one) != 1 {
		return fmt.Errorf("line %d: a step is one `place: command`", node.Line)
	}
	for s.place, s.command = range one {
	}
	return nil
}

// namespace finds a place of the lab.
func namespace(l *lab.Lab, place string) (lab.Namespace, error) {
	if place == "wire" {
		return lab.Namespace(l.Name() + "-wire"), nil
	}
	for _, n := range l.Nodes() {
		if n.Name == place {
			return n.Netns, nil
		}
	}
	if p, ok := l.Pod(place); ok {
		return p.Netns, nil
	}
	return "", fmt.Errorf("the lab has no %q", place)
}

// prepare makes the command of a step.
func (p *play) prepare(ctx context.Context, s step) (*exec.Cmd, lab.Namespace, error) {
	command, err := p.fill(s.command)
	if err != nil {
		return nil, "", err
	}
	if s.place == labFault {
		words := append([]string{"lab", "fault", "--name", p.lab.Name(), "--run-dir", p.dir}, strings.Fields(command)...)
		return exec.CommandContext(ctx, p.tracer, words...), "", nil
	}
	if s.place == machine {
		return exec.CommandContext(ctx, "bash", "-e", "-c", command), "", nil
	}
	ns, err := namespace(p.lab, s.place)
	if err != nil {
		return nil, "", err
	}
	return exec.CommandContext(ctx, "bash", "-e", "-c", command), ns, nil
}

// do runs a step to its end and returns what it printed.
func (p *play) do(ctx context.Context, s step) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	cmd, ns, err := p.prepare(ctx, s)
	if err != nil {
		return "", err
	}
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	if err := inside(ns, cmd.Start); err != nil {
		return "", fmt.Errorf("%s: %s: %w", s.place, s.command, err)
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w: %s", s.place, cmd.Args[len(cmd.Args)-1], err, bytes.TrimSpace(complaint.Bytes()))
	}
	return out.String(), nil
}

// inside starts something in a namespace; without one, here.
func inside(ns lab.Namespace, start func() error) error {
	if ns == "" {
		return start()
	}
	return ns.Do(start)
}

// begin starts a step that goes on until end is called. That it ended by itself with an error is one.
func (p *play) begin(ctx context.Context, s step) (end func() error, err error) {
	cmd, ns, err := p.prepare(ctx, s)
	if err != nil {
		return nil, err
	}
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	if err := inside(ns, cmd.Start); err != nil {
		return nil, fmt.Errorf("%s: %s: %w", s.place, s.command, err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	return func() error {
		select {
		case err := <-done:
			if err != nil {
				return fmt.Errorf("%s: %s: %w: %s", s.place, s.command, err, bytes.TrimSpace(complaint.Bytes()))
			}
			return nil
		default:
		}
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if ended := <-done; ended == nil || errors.Is(err, syscall.ESRCH) {
			return nil // by itself, just now
		}
		return err // none: it was killed, as was wished
	}, nil
}
