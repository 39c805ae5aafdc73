package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
)

// other is a process of this program that is told what to do by its input, and ends with it: also when this one is killed.
type other struct {
	name   string
	cmd    *exec.Cmd
	input  io.WriteCloser
	output io.Reader
	stderr strings.Builder
}

// newOther is one that is yet to be started. The end of ctx kills it.
func newOther(ctx context.Context, name string) (*other, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find the benchmark's own program: %w", err)
	}
	p := &other{name: name, cmd: exec.CommandContext(ctx, self, "-be", name)}
	p.cmd.Stderr = &p.stderr
	if p.input, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if p.output, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *other) start() error {
	if err := p.cmd.Start(); err != nil {
		return fmt.Errorf("start a %s: %w", p.name, err)
	}
	return nil
}

// Close ends it.
func (p *other) Close() error {
	p.input.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("a %s: %w\n%s", p.name, err, &p.stderr)
	}
	return nil
}
