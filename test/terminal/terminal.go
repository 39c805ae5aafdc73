// Package terminal runs a program in a terminal of its own, types keys and reads the screen. It uses tmux.
package terminal

import (
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
)

const (
	poll         = 20 * time.Millisecond
	closeTimeout = 10 * time.Second // for the program to end after its terminal is gone
)

// Terminal is a terminal with a program running in it.
type Terminal struct {
	socket string
	dir    string
}

// Start runs a program in a terminal of that size, with the environment of the caller and env.
func Start(width, height int, env []string, program ...string) (*Terminal, error) {
	dir, err := os.MkdirTemp("", "terminal")
	if err != nil {
		return nil, err
	}
	t := &Terminal{socket: filepath.Join(dir, "tmux"), dir: dir}
	args := []string{"-f", "/dev/null", "new-session", "-d", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height)}
	for _, e := range env {
		args = append(args, "-e", e)
	}
	if _, err := t.tmux(append(append(args, "--"), program...)...); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return t, nil
}

// tmux runs a command on the tmux server of this terminal.
func (t *Terminal) tmux(args ...string) (string, error) {
	cmd := exec.Command("tmux", append([]string{"-S", t.socket, "-u"}, args...)...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("tmux %s: %w: %s", args[0], err, out)
	}
	return string(out), nil
}

// Close ends the terminal and the program in it, and waits until the program has ended.
func (t *Terminal) Close() error {
	defer os.RemoveAll(t.dir)
	pid, err := t.PID()
	if err != nil && !t.Running() { // it ended with its program
		return nil
	}
	if err == nil {
		_, err = t.tmux("kill-server")
	}
	for end := time.Now().Add(closeTimeout); err == nil && syscall.Kill(pid, 0) == nil; time.Sleep(poll) {
		if time.Now().After(end) {
			err = fmt.Errorf("process %d still runs without its terminal", pid)
		}
	}
	return err
}

// Running tells whether the program is still running.
func (t *Terminal) Running() bool {
	_, err := t.tmux("list-sessions")
	return err == nil
}

// PID is the process ID of the program.
func (t *Terminal) PID() (int, error) {
	out, err := t.tmux("display-message", "-p", "#{pane_pid}")
	if err != nil {
		return 0, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return 0, fmt.Errorf("read the program's pid: %w", err)
	}
	return pid, nil
}

// Screen is the text on the screen, line by line.
func (t *Terminal) Screen() (string, error) { return t.tmux("capture-pane", "-p") }

// Styled is the screen with its SGR sequences.
func (t *Terminal) Styled() (string, error) { return t.tmux("capture-pane", "-p", "-e") }

// Press types keys: a text, or a key by tmux's name (Enter, Escape, Down …).
func (t *Terminal) Press(keys ...string) error {
	_, err := t.tmux(append([]string{"send-keys"}, keys...)...)
	return err
}

// Resize changes the terminal's size.
func (t *Terminal) Resize(width, height int) error {
	_, err := t.tmux("resize-window", "-x", strconv.Itoa(width), "-y", strconv.Itoa(height))
	return err
}

// Wait waits until all texts are on the screen.
func (t *Terminal) Wait(ctx context.Context, texts ...string) error {
	var screen string
	for {
		var err error
		if screen, err = t.Screen(); err != nil {
			return err
		}
		missing := ""
		for _, text := range texts {
			if !strings.Contains(screen, text) {
				missing = text
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return fmt.Errorf("%q is not on the screen:\n%s", missing, screen)
		}
	}
}
