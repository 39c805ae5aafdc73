package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// marker begins the lines that tests and the guest's init write about themselves.
const marker = "\x16"

// results are what a guest's job came to.
type results struct {
	pkg             string // the one that runs
	passed          int
	failed, skipped []string
	exit            int
	ended           bool // the job ended by itself
}

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
	text, note, marked := strings.Cut(line, marker)
	if !marked {
		fmt.Fprintln(w, line)
		return
	}
	if text != "" {
		fmt.Fprintln(w, text) // printed by a test, without an end of line
	}
	note = strings.ReplaceAll(note, marker, "")
	switch {
	case strings.HasPrefix(note, "=== "):
		// A test begins, waits or goes on; its end is told below.
		return
	case strings.HasPrefix(note, "guest: package "):
		r.pkg = strings.TrimPrefix(note, "guest: package ")
		fmt.Fprintln(w, "=== "+r.pkg)
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
	switch m[1] {
	case "PASS":
		r.passed++
	case "FAIL":
		r.failed = append(r.failed, name)
	case "SKIP":
		r.skipped = append(r.skipped, name)
	}
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
