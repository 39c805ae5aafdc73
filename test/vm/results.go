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
	"syscall"
	"time"
)

// marker begins the lines that tests and the guest's init write about themselves.
const marker = "\x16"

// results are what a guest's job came to.
type results struct {
	pkg             string       // the one that runs
	begins          func(string) // is told each of them; may be nil
	passed          map[string]bool
	failed, skipped []string
	unproven        []string // those by the name of the whole test, each once
	exit            int
	ended           bool          // the job ended by itself
	cpu             time.Duration // that the machines took

	test string              // the one that prints now
	said map[string][]string // what tests printed that have not passed, by name
}

// saidLines bounds what is kept of one test.
const saidLines = 200

var testEnd = regexp.MustCompile(`^--- (PASS|FAIL|SKIP): (\S+) \(`)

// read copies what a job prints to w while it goes on, and takes the results out of it.
func (r *results) read(from io.Reader, w io.Writer) error {
	lines := bufio.NewReader(from)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			r.line(strings.TrimRight(line, "\r\n"), w)
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
		r.passed = map[string]bool{}
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
		// A test begins, waits or goes on; its end is reported below.
		_, name, _ := strings.Cut(strings.TrimPrefix(note, "=== "), " ")
		r.test = strings.TrimSpace(name)
		return
	case strings.HasPrefix(note, "guest: package "):
		r.pkg = strings.TrimPrefix(note, "guest: package ")
		fmt.Fprintln(w, "=== "+r.pkg)
		if r.begins != nil {
			r.begins(r.pkg)
		}
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
	if whole, _, _ := strings.Cut(m[2], "/"); m[1] != "PASS" && !slices.Contains(r.unproven, whole) {
		r.unproven = append(r.unproven, whole)
	}
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

// err is why the job is not a success, nil if it is.
func (r *results) err() error {
	switch {
	case !r.ended:
		return errors.New("the guest stopped before its job ended")
	case len(r.failed) > 0:
		return fmt.Errorf("%d tests failed: %s", len(r.failed), strings.Join(r.failed, ", "))
	case r.exit == 128+int(syscall.SIGTERM):
		return errors.New("the job was not done within its time, by the guest's clock: see -timeout")
	case r.exit != 0:
		return fmt.Errorf("exit status %d", r.exit)
	case len(r.skipped) > 0:
		return fmt.Errorf("%d tests were skipped, and so have proven nothing: %s", len(r.skipped), strings.Join(r.skipped, ", "))
	}
	return nil
}
