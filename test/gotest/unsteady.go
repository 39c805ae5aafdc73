package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"tracer/test/steady"
)

// unsteady finds in go test's events the tests that failed while the machine stood still, by package; or says why nothing may
// run again.
func unsteady(events []byte) (again map[string][]string, why string) {
	type test struct{ pkg, name string }
	failed, marked := map[test]bool{}, map[test]bool{}
	failedPackages := map[string]bool{}
	for d := json.NewDecoder(bytes.NewReader(events)); d.More(); {
		var e struct{ Action, Package, Test, Output string }
		if err := d.Decode(&e); err != nil {
			return nil, fmt.Sprintf("an event of go test makes no sense: %v", err)
		}
		name, _, isSub := strings.Cut(e.Test, "/")
		t := test{e.Package, name}
		switch {
		case e.Action == "fail" && e.Test == "":
			failedPackages[e.Package] = true
		case e.Action == "fail" && !isSub:
			failed[t] = true
		case e.Action == "output" && strings.Contains(e.Output, steady.Mark):
			marked[t] = true
		case e.Action == "output" && strings.HasPrefix(e.Output, "WARNING: DATA RACE"):
			return nil, "a data race in " + e.Package
		}
	}
	if len(failed) == 0 {
		return nil, "no test failed"
	}
	if len(failed) > maxAgain {
		return nil, fmt.Sprintf("%d tests failed, at most %d may run again", len(failed), maxAgain)
	}
	again = map[string][]string{}
	for t := range failed {
		if !marked[t] {
			return nil, t.name + " failed while the machine kept up, or without watching it"
		}
		again[t.pkg] = append(again[t.pkg], t.name)
		slices.Sort(again[t.pkg])
	}
	for pkg := range failedPackages {
		if again[pkg] == nil {
			return nil, pkg + " failed and none of its tests did"
		}
	}
	return again, ""
}
