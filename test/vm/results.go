package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// marker begins the lines that tests and the guest's init write about themselves.
const marker = "\x16"

// results are what a guest's job came to.
type results struct {
	pkg             string // the one that runs
	passed          map[string]bool
	failed, skipped []string
	broken          bool            // a package's tests did not all run: a panic, a time limit
	running         map[string]bool // tests of this package that have begun
	exit            int
	ended           bool // the job ended by itself

	clock time.Time // when the guest began to sleep for two seconds
	fast  bool      // it did not sleep that long

	test string              // the one that prints now
	said map[string][]string // what tests printed that have not passed, by name
}

// saidLines bounds what is kept of one test.
const saidLines = 200

// errFast is that a guest has mistaken its clock's frequency, and would let time limits pass in no time.
var errFast = errors.New("the guest's clock is too fast")

var testEnd = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(`)

// read copies what a job prints to w while it goes on, and takes the results out of it.
func (r *results) read(from io.Reader, w io.Writer) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.line(strings.TrimRight(line, "\r\n"), w)
			if r.fast {
				return errFast
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return fmt.Errorf("read from the guest: %w", err)
		}
	}
}

func (r *results) line(line string, w io.Writer) {
	if r.passed == nil {
		r.passed, r.running = map[string]bool{}, map[string]bool{}
	}
	text, note, marked := strings.Cut(line, marker)
	if !marked || text != "" { // perhaps without an end of line
		fmt.Fprintln(w, text)
		r.keep(text)
	}
	if !marked {
		return
	}
	note = strings.ReplaceAll(note, marker, "")
	switch {
	case strings.HasPrefix(note, "=== "):
		// A test begins, waits or goes on; its end is told below.
		what, name, _ := strings.Cut(strings.TrimPrefix(note, "=== "), " ")
		if r.test = strings.TrimSpace(name); what == "RUN" {
			r.running[r.test] = true
		}
		return
	case strings.HasPrefix(note, "guest: package "):
		r.pkg, r.running = strings.TrimPrefix(note, "guest: package "), map[string]bool{}
		fmt.Fprintln(w, "=== "+r.pkg)
		return
	case strings.HasPrefix(note, "guest: status "):
		code, err := strconv.Atoi(strings.TrimPrefix(note, "guest: status "))
		// A test binary whose tests have run ends with 1 if some have failed.
		fails := slices.ContainsFunc(r.failed, func(name string) bool { return strings.HasPrefix(name, r.pkg+".") })
		if err != nil || len(r.running) > 0 || code > 1 || fails != (code == 1) {
			r.broken = true
		}
		return
	case note == "guest: clock 0":
		r.clock = time.Now()
		return
	case note == "guest: clock 2":
		r.fast = time.Since(r.clock) < time.Second
		return
	case strings.HasPrefix(note, "guest: exit "):
		code, err := strconv.Atoi(strings.TrimPrefix(note, "guest: exit "))
		r.exit, r.ended = code, err == nil
		return
	}
	fmt.Fprintln(w, note)
	m := testEnd.FindStringSubmatch(note)
	if m == nil {
		return
	}
	name := r.pkg + "." + m[2]
	delete(r.running, m[2])
	switch m[1] {
	case "PASS":
		r.passed[name] = true
		delete(r.said, name)
	case "FAIL":
		r.failed = append(r.failed, name)
	case "SKIP":
		r.skipped = append(r.skipped, name)
	}
}

// keep remembers what the test prints that runs now.
func (r *results) keep(line string) {
	if r.said == nil {
		r.said = map[string][]string{}
	}
	name := r.pkg + "." + r.test
	if len(r.said[name]) < saidLines {
		r.said[name] = append(r.said[name], line)
	}
}

// output is what the failed tests printed.
func (r *results) output() string {
	var b strings.Builder
	for _, name := range r.failed {
		if lines := r.said[name]; lines != nil {
			fmt.Fprintf(&b, "%s:\n%s\n", name, strings.Join(lines, "\n"))
		}
	}
	return b.String()
}

// unlucky are the failed tests, without those that failed by a subtest, if they are few enough to try them again:
// under emulation, on a machine that others share, a test that measures time may find it standing still.
func (r *results) unlucky() []string {
	const most = 3
	var leaves []string
	for _, name := range r.failed {
		if !slices.ContainsFunc(r.failed, func(other string) bool { return strings.HasPrefix(other, name+"/") }) {
			leaves = append(leaves, name)
		}
	}
	if !r.ended || r.broken || len(r.skipped) > 0 || len(leaves) > most {
		return nil
	}
	return leaves
}

// err is why the job is not a success, nil if it is.
func (r *results) err() error {
	switch {
	case !r.ended:
		return errors.New("the guest stopped before its job ended")
	case r.exit != 0 && len(r.failed) > 0:
		return fmt.Errorf("%d tests failed: %s", len(r.failed), strings.Join(r.failed, ", "))
	case r.exit != 0:
		return fmt.Errorf("exit status %d", r.exit)
	case len(r.skipped) > 0:
		return fmt.Errorf("%d tests were skipped, and so have proven nothing: %s", len(r.skipped), strings.Join(r.skipped, ", "))
	}
	return nil
}
