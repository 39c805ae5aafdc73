package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// guestTimeout is how long a guest may take, by its clock.
const guestTimeout = 40 * time.Minute

// share is one of several equal parts of all runs; the zero share is all of them.
type share struct{ i, n int }

func (s *share) String() string { return fmt.Sprintf("%d/%d", s.i, s.n) }

// Set reads "i/n".
func (s *share) Set(text string) error {
	if _, err := fmt.Sscanf(text, "%d/%d", &s.i, &s.n); err != nil || s.i < 1 || s.i > s.n {
		return errors.New("give i/n, with i from 1 to n")
	}
	return nil
}

// of are the runs that belong to the share: of each kind as many as of any other share, and the turns of a scenario spread.
func (s *share) of(runs []playing) []playing {
	if s.n == 0 {
		return runs
	}
	kind := func(p playing) int {
		switch {
		case p.Alone:
			return 0
		case p.Heavy:
			return 1
		}
		return 2
	}
	sorted := slices.Clone(runs)
	slices.SortStableFunc(sorted, func(x, y playing) int { return cmp.Compare(kind(x), kind(y)) })
	var mine []playing
	for k, p := range sorted {
		if k%s.n == s.i-1 {
			mine = append(mine, p)
		}
	}
	return mine
}

// printJSON prints a result for playInGuests to read.
func printJSON(r *result) error {
	line, err := json.Marshal(r)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(slices.Concat([]byte(resultMark), line, []byte("\n"))) // in one write, as several may
	return err
}

// resultMark begins the lines of printJSON: the job's complaints come by the same line.
const resultMark = "result: "

// playInGuests has guests play the runs, each a share of its own. Emulation takes one CPU for each, and most of it goes into
// the kernel's verifying the programs, for each tracer anew.
func playInGuests(ctx context.Context, o options, runs []playing) ([]result, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "scoreboard-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	vm := filepath.Join(dir, "vm") // not by `go run`, which would leave it alone when it is interrupted
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", vm, "./test/vm").CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build test/vm: %w: %s", err, out)
	}
	found := make([][]result, o.guests)
	errs := make([]error, o.guests)
	var group sync.WaitGroup
	for i := range o.guests {
		group.Go(func() {
			found[i], errs[i] = o.guest(ctx, vm, self, share{i + 1, o.guests})
		})
	}
	group.Wait()
	var all []result
	for _, p := range runs {
		r := result{
			Run: p.String(), Healthy: p.healthy(), Expected: p.Expect.String(), Injected: p.Expect.injected(), Said: notPlayed,
			Error: "it was not played: the guest has ended before",
		}
		for _, of := range found {
			if i := slices.IndexFunc(of, func(r result) bool { return r.Run == p.String() }); i >= 0 {
				r = of[i]
			}
		}
		all = append(all, r)
	}
	return all, errors.Join(errs...)
}

// guest plays a share in a guest.
func (o *options) guest(ctx context.Context, vm, self string, part share) ([]result, error) {
	command := fmt.Sprintf("scoreboard -tracer /usr/local/bin/tracer -logs /tmp/verdicts -where guest -json -run %s -seed %d -seeds %d -window %v -parallel %d -share %v",
		quote(o.run), o.seed, o.seeds, o.window, o.parallel, &part)
	cmd := exec.CommandContext(ctx, vm, "-kernel", o.kernel, "-timeout", guestTimeout.String(), "-file", self, "-command", command)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // that it ends its machine
	cmd.WaitDelay = 10 * time.Second
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start a guest: %w", err)
	}
	results, err := readResults(out, os.Stderr)
	return results, errors.Join(err, cmd.Wait())
}

// readResults takes the results out of what a guest prints, and passes on the rest.
func readResults(from io.Reader, rest io.Writer) (results []result, err error) {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadBytes('\n')
		if text, ok := bytes.CutPrefix(line, []byte(resultMark)); ok {
			var r result
			if err := json.Unmarshal(text, &r); err != nil {
				return results, fmt.Errorf("read a guest's result: %w", err)
			}
			results = append(results, r)
		} else if len(line) > 0 {
			_, _ = rest.Write(line) // for whoever waits
		}
		if errors.Is(err, io.EOF) {
			return results, nil
		} else if err != nil {
			return results, fmt.Errorf("read from a guest: %w", err)
		}
	}
}

// quote makes one word of the shell's.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
