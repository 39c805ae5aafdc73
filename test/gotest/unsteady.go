package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"tracer/test/steady"
)

// test is one test of a package, a subtest by its whole name.
type test struct{ pkg, name string }

func (t test) root() test {
	name, _, _ := strings.Cut(t.name, "/")
	return test{t.pkg, name}
}

// outcome is what go test's events say of a run.
type outcome struct {
	ended          map[test]string // how: "pass", "fail" or "skip"; "" of those that have begun alone
	unsteady       map[test]bool   // those that watched the machine and saw it stand still
	steady         map[test]bool   // ... and saw it keep up
	failedPackages map[string]bool
	passedPackages []string
	broken         string // what no test is to blame for
}

// Beginnings of lines that say that a test binary has not come to its end by itself, or that what it did was wrong whatever
// its tests say.
var crashes = []string{"panic: ", "fatal error: ", "signal: ", "WARNING: DATA RACE"}

func parse(events []byte) (outcome, error) {
	o := outcome{ended: map[test]string{}, unsteady: map[test]bool{}, steady: map[test]bool{}, failedPackages: map[string]bool{}}
	for d := json.NewDecoder(bytes.NewReader(events)); d.More(); {
		var e struct{ Action, Package, Test, Output string }
		if err := d.Decode(&e); err != nil {
			return o, fmt.Errorf("an event of go test makes no sense: %w", err)
		}
		t := test{e.Package, e.Test}
		switch e.Action {
		case "run":
			o.ended[t] = ""
		case "pass", "skip":
			if e.Test != "" {
				o.ended[t] = e.Action
			} else if e.Action == "pass" {
				o.passedPackages = append(o.passedPackages, e.Package)
			}
		case "fail":
			if e.Test != "" {
				o.ended[t] = e.Action
			} else {
				o.failedPackages[e.Package] = true
			}
		case "output":
			for _, crash := range crashes {
				if strings.HasPrefix(e.Output, crash) {
					o.broken = fmt.Sprintf("%s: %s", e.Package, strings.TrimSpace(e.Output))
				}
			}
			o.unsteady[t] = o.unsteady[t] || strings.Contains(e.Output, steady.Exceeded)
			o.steady[t] = o.steady[t] || strings.Contains(e.Output, steady.Within)
		}
	}
	return o, nil
}

// untested says which packages passed without a test, as one whose TestMain has taken its environment for something else.
func untested(events []byte) error {
	o, err := parse(events)
	if err != nil {
		return err
	}
	tested := map[string]bool{}
	for t := range o.ended {
		tested[t.pkg] = true
	}
	empty := slices.DeleteFunc(o.passedPackages, func(pkg string) bool { return tested[pkg] })
	if len(empty) > 0 {
		return fmt.Errorf("passed without a test: %s", strings.Join(empty, ", "))
	}
	return nil
}

// unsteady finds in go test's events the tests that failed while the machine stood still, by package; or says why nothing may
// run again. A test with subtests is judged by those that failed: each must have failed on an unsteady machine. Whether it was for those
// that did not watch it tells what stalled in the first run.
func unsteady(events []byte, stall steady.Stall) (again map[string][]string, why string) {
	o, err := parse(events)
	if err != nil {
		return nil, err.Error()
	}
	if o.broken != "" {
		return nil, o.broken
	}
	again = map[string][]string{}
	roots := map[test]bool{}
	// Subtests come before the tests that they are of, and fail.
	for _, t := range slices.SortedFunc(maps.Keys(o.ended), func(a, b test) int { return cmp.Or(cmp.Compare(a.pkg, b.pkg), cmp.Compare(b.name, a.name)) }) {
		how := o.ended[t]
		switch {
		case how == "" && o.failedPackages[t.pkg]:
			return nil, t.name + " did not end"
		case how == "skip" && os.Getenv("CI") == "true":
			return nil, t.name + " was skipped"
		case how != "fail":
			continue
		case o.steady[t]:
			return nil, t.name + " failed while the machine kept up"
		case !o.unsteady[t] && !o.excused(t) && !stall.StoodStill():
			return nil, t.name + " failed, and the machine never stood still"
		}
		roots[t.root()] = true
	}
	if len(roots) == 0 {
		return nil, "no test failed"
	}
	if len(roots) > maxAgain {
		return nil, fmt.Sprintf("%d tests failed, at most %d may run again", len(roots), maxAgain)
	}
	for t := range roots {
		again[t.pkg] = append(again[t.pkg], t.name)
		slices.Sort(again[t.pkg])
	}
	for pkg := range o.failedPackages {
		if again[pkg] == nil {
			return nil, pkg + " failed and none of its tests did"
		}
	}
	return again, ""
}

// excused tells whether a test that did not watch the machine itself failed with one that did: a test with its subtests, or a
// subtest of a test that watched.
func (o *outcome) excused(t test) bool {
	for other, how := range o.ended {
		related := other.pkg == t.pkg && (strings.HasPrefix(other.name, t.name+"/") || strings.HasPrefix(t.name, other.name+"/"))
		if related && how == "fail" && o.unsteady[other] {
			return true
		}
	}
	return false
}
