package main

import (
	"slices"
	"strings"
	"testing"
)

func TestChoose(t *testing.T) {
	t.Parallel()
	names := func(words ...string) (names []string) {
		chosen, err := choose(words)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range chosen {
			names = append(names, p.name)
		}
		return names
	}
	var suites []string
	for _, p := range parts {
		if p.suite != suiteNone {
			suites = append(suites, p.name)
		}
	}
	if got := names("all"); !slices.Equal(got, suites) {
		t.Errorf("all are %q", got)
	}
	if got := names("truth", "lint"); !slices.Equal(got, []string{"packages", "lint", "truth"}) {
		t.Errorf("truth and lint are %q", got)
	}
	if got, more := names("here"), names("more"); len(got)+len(more) != len(suites)+1 { // packages twice
		t.Errorf("%q and %q are not all", got, more)
	}
	if _, err := choose([]string{"lint", "nothing"}); err == nil {
		t.Error("an unknown part was taken")
	}
	for i, p := range parts {
		if p.again && p.beside {
			t.Errorf("%s runs again, and beside others: it could not be hurried", p.name)
		}
		// Their load must lose nothing.
		if strings.Contains(p.script, "make test-cni") && !p.alone {
			t.Errorf("%s is not alone", p.name)
		}
		if before := slices.IndexFunc(parts, func(b part) bool { return b.name == p.after }); p.after != "" && (before < 0 || before >= i) {
			t.Errorf("%s is to run after %s, which does not stand before it", p.name, p.after)
		}
	}
}
