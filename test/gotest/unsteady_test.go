package main

import (
	"fmt"
	"strings"
	"testing"

	"tracer/test/steady"
)

func TestUnsteady(t *testing.T) {
	t.Parallel()
	event := func(action, pkg, test, output string) string {
		return fmt.Sprintf(`{"Action":%q,"Package":%q,"Test":%q,"Output":%q}`, action, pkg, test, output)
	}
	still := "    x_test.go:1: " + steady.Mark + "a thread woke up 84ms late\n"
	pkgFailed := event("fail", "p", "", "")
	for _, test := range []struct {
		name   string
		events []string
		again  string
		why    string
	}{
		{"stood still", []string{event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), event("pass", "p", "TestB", ""), pkgFailed},
			"map[p:[TestA]]", ""},
		{"in a subtest", []string{event("fail", "p", "TestA/x", ""), event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), pkgFailed},
			"map[p:[TestA]]", ""},
		{"watched in a subtest", []string{event("output", "p", "TestA/x", still), event("fail", "p", "TestA/x", ""), event("fail", "p", "TestA", "")},
			"map[p:[TestA]]", ""},
		{"kept up", []string{event("output", "p", "TestA", "bad\n"), event("fail", "p", "TestA", ""), pkgFailed}, "", "TestA failed while"},
		{"one of two kept up", []string{event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), event("fail", "p", "TestB", "")}, "", "TestB failed while"},
		{"many", []string{event("fail", "p", "A", ""), event("fail", "p", "B", ""), event("fail", "p", "C", ""), event("fail", "p", "D", "")}, "", "4 tests failed"},
		{"does not compile", []string{pkgFailed}, "", "no test failed"},
		{"another package does not compile", []string{event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), event("fail", "q", "", "")}, "", "q failed and none"},
		{"race", []string{event("output", "p", "TestA", still), event("output", "p", "TestA", "WARNING: DATA RACE\n"), event("fail", "p", "TestA", "")}, "", "a data race"},
		{"cut", []string{`{"Action":"fail"`}, "", "makes no sense"},
	} {
		again, why := unsteady([]byte(strings.Join(test.events, "\n")))
		if test.why != "" {
			if !strings.Contains(why, test.why) {
				t.Errorf("%s: %q, want %q", test.name, why, test.why)
			}
			continue
		}
		if got := fmt.Sprint(again); got != test.again || why != "" {
			t.Errorf("%s: %s, %q, want %s", test.name, got, why, test.again)
		}
	}
}
