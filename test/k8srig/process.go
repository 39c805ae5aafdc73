package k8srig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Process is one that runs in the background, with its output in a file.
type Process struct {
	Name string
	Log  string
	cmd  *exec.Cmd
	done chan struct{}
	err  error
}

// Start runs a command in the background. It is killed with us.
func Start(name, dir string, cmd *exec.Cmd) (*Process, error) {
	p := &Process{Name: name, Log: filepath.Join(dir, name+".log"), cmd: cmd, done: make(chan struct{})}
	log, err := os.OpenFile(p.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	// No Pdeathsig: the kernel sends it when the thread ends that started the process, and Go ends threads. All of us
	// are in one process namespace.
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// PID is the process's number.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Signal sends one.
func (p *Process) Signal(s os.Signal) error { return p.cmd.Process.Signal(s) }

// Stop ends the process, by force if it does not end by itself.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(unix.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Output is what the process has printed.
func (p *Process) Output() string {
	data, err := os.ReadFile(p.Log)
	if err != nil {
		return err.Error()
	}
	return string(data)
}

// tail is the end of it.
func (p *Process) tail() string {
	lines := strings.Split(strings.TrimSpace(p.Output()), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

// Await waits until done is true. A process that ends meanwhile is an error.
func Await(ctx context.Context, limit time.Duration, what string, processes []*Process, done func() error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		err := done()
		if err == nil {
			return nil
		}
		for _, p := range processes {
			select {
			case <-p.done:
				return fmt.Errorf("%s: %s ended: %v\n%s", what, p.Name, p.err, p.tail())
			default:
			}
		}
		select {
		case <-ctx.Done():
			text := ""
			for _, p := range processes {
				text += fmt.Sprintf("\n--- %s\n%s", p.Name, p.tail())
			}
			return fmt.Errorf("%s: not within %v: %w%s", what, limit, err, text)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// Wait waits until the process has ended.
func (p *Process) Wait() { <-p.done }

// Kill ends the process at once, and all in its process namespace if it has one.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}
