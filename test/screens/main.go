// Command screens renews the pictures in docs/screens, of which one moves: it builds a lab with a slow overlay, runs tracer in a terminal
// there, and draws what that shows. It is run as root by `make screens`.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/overview"
	"tracer/test/terminal"
)

const (
	labName = "screens"
	columns = 112
	rows    = 23
	// timeout is how long anything may take to appear.
	timeout = time.Minute
)

func main() {
	binary := flag.String("tracer", "build/tracer", "the program to show")
	dir := flag.String("o", "docs/screens", "directory for the pictures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, *binary, *dir); err != nil {
		fmt.Fprintln(os.Stderr, "screens:", err)
		os.Exit(1)
	}
}

// node is the lab's first node, which has an agent.
type node struct {
	tracer string
}

func run(ctx context.Context, binary, dir string) (err error) {
	s := node{}
	if s.tracer, err = filepath.Abs(binary); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := s.lab(ctx, "up"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.lab(context.WithoutCancel(ctx), "down")) }()
	agent := s.command(ctx, "agent", "--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0", "--state-dir=")
	agent.Cancel = func() error { return agent.Process.Signal(syscall.SIGTERM) }
	if err := agent.Start(); err != nil {
		return err
	}
	defer func() {
		err = errors.Join(err, agent.Process.Signal(syscall.SIGTERM), agent.Wait())
	}()
	if err := pause(ctx, 40*time.Second); err != nil { // so that a history shows healthy minutes
		return err
	}
	if err := s.film(ctx, dir); err != nil {
		return err
	}
	if err := s.awaitFault(ctx); err != nil {
		return err
	}
	return errors.Join(s.top(ctx, dir), s.trace(ctx, dir))
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// line is the command line of tracer on the first node.
func (s *node) line(args ...string) []string {
	return append([]string{"ip", "netns", "exec", labName + "-node1", s.tracer}, args...)
}

func (s *node) command(ctx context.Context, args ...string) *exec.Cmd {
	line := s.line(args...)
	return exec.CommandContext(ctx, line[0], line[1:]...)
}

func (s *node) lab(ctx context.Context, args ...string) error {
	cmd := exec.CommandContext(ctx, s.tracer, append(append([]string{"lab"}, args...), "--name", labName)...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("tracer lab %s: %w: %s", args[0], err, out)
	}
	return nil
}

// fault makes the overlay slow.
func (s *node) fault(ctx context.Context) error {
	return s.lab(ctx, "fault", "--delay", "500ms", "--rate", "50kbit", "--loss", "10%")
}

// awaitFault waits until the agent reports the fault, over a whole window of it.
func (s *node) awaitFault(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	if err := pause(ctx, 20*time.Second); err != nil {
		return err
	}
	for {
		out, err := s.command(ctx, "top", "--once", "-o", "json").Output()
		if err != nil {
			return fmt.Errorf("tracer top --once: %w", err)
		}
		var o overview.Overview
		if err := json.Unmarshal(out, &o); err != nil {
			return err
		}
		if o.Verdict == diagnose.Fault {
			return nil
		}
		if err := pause(ctx, time.Second); err != nil {
			return fmt.Errorf("the fault is not reported: %w: %s", err, o.Summary)
		}
	}
}

// shot is a screen of the live view: the keys that lead there, and what it then shows.
type shot struct {
	name  string // "" to take no picture
	keys  []string
	shows []string
}

func (s *node) top(ctx context.Context, dir string) (err error) {
	term, err := terminal.Start(columns, rows, []string{"TERM=xterm-256color"}, s.line("top")...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, term.Close()) }()
	for _, shot := range []shot{
		{"top", nil, []string{"FAULT", "█ queue", "!queue"}},
		{"waterfall", []string{"Enter"}, []string{"in flight", "critical"}},
		{"", []string{"Escape"}, []string{"SOURCE"}},
		{"", []string{"4"}, []string{"BACKLOG"}},
		{"device", []string{"Enter"}, []string{"QDISC", "root qdisc is"}},
	} {
		if len(shot.keys) > 0 {
			if err := term.Press(shot.keys...); err != nil {
				return err
			}
		}
		if err := await(ctx, term, shot.shows...); err != nil {
			return err
		}
		if shot.name == "" {
			continue
		}
		if err := take(ctx, term, filepath.Join(dir, shot.name+".svg"), "tracer top"); err != nil {
			return err
		}
	}
	return nil
}

func (s *node) trace(ctx context.Context, dir string) (err error) {
	script := fmt.Sprintf("%s; %s; sleep 600", strings.Join(s.line("trace", "--stage", "'queue>100ms'", "--once", "2"), " "),
		strings.Join(s.line("trace", "--drops", "--once", "1"), " "))
	term, err := terminal.Start(columns, rows, []string{"TERM=xterm-256color"}, "sh", "-c", script)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, term.Close()) }()
	title := "tracer trace --stage 'queue>100ms' --once 2; tracer trace --drops --once 1"
	if err := await(ctx, term, "forward", "queue", "dropped in queue"); err != nil {
		return err
	}
	return take(ctx, term, filepath.Join(dir, "trace.svg"), title)
}

// await waits until the texts are on the screen.
func await(ctx context.Context, term *terminal.Terminal, texts ...string) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return term.Wait(ctx, texts...)
}

// take draws the screen.
func take(ctx context.Context, term *terminal.Terminal, name, title string) error {
	if err := pause(ctx, 3*time.Second); err != nil { // a whole window in this view
		return err
	}
	screen, err := term.Styled()
	if err != nil {
		return err
	}
	if err := os.WriteFile(name, []byte(svg(title, screen, columns)), 0o644); err != nil {
		return err
	}
	fmt.Println(name)
	return nil
}
