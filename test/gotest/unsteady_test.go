package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"tracer/test/steady"
)

func TestUnsteady(t *testing.T) {
	t.Parallel()
	event := func(action, pkg, test, output string) string {
		return fmt.Sprintf(`{"Action":%q,"Package":%q,"Test":%q,"Output":%q}`, action, pkg, test, output)
	}
	still := "    x_test.go:1: " + steady.Exceeded + "a thread woke up 84ms late\n"
	kept := "    x_test.go:1: " + steady.Within + "a thread woke up 1ms late\n"
	pkgFailed := event("fail", "p", "", "")
	for _, test := range []struct {
		name   string
		events []string
		again  string
		why    string
	}{
		{"stood still", []string{event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), event("pass", "p", "TestB", ""), pkgFailed},
			"map[p:[TestA]]", ""},
		{"with a subtest", []string{event("fail", "p", "TestA/x", ""), event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), pkgFailed},
			"map[p:[TestA]]", ""},
		{"in a subtest", []string{event("output", "p", "TestA/x", still), event("fail", "p", "TestA/x", ""), event("fail", "p", "TestA", ""), pkgFailed},
			"map[p:[TestA]]", ""},
		{"in one of two subtests", []string{event("output", "p", "TestA/x", still), event("fail", "p", "TestA/x", ""),
			event("output", "p", "TestA/y", kept), event("fail", "p", "TestA/y", ""), event("fail", "p", "TestA", ""), pkgFailed},
			"", "TestA/y failed while the machine kept up"},
		{"kept up in a subtest", []string{event("output", "p", "TestA/x", kept), event("fail", "p", "TestA/x", ""), event("fail", "p", "TestA", ""), pkgFailed},
			"", "TestA/x failed while the machine kept up"},
		{"kept up", []string{event("output", "p", "TestA", kept), event("fail", "p", "TestA", ""), pkgFailed}, "", "TestA failed while"},
		{"does not watch", []string{event("output", "p", "TestA", "bad\n"), event("fail", "p", "TestA", ""), pkgFailed}, "", "TestA failed, and"},
		{"one of two does not watch", []string{event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), event("fail", "p", "TestB", "")},
			"", "TestB failed, and"},
		{"many", func() (all []string) {
			for i := range maxAgain + 1 {
				name := fmt.Sprint("Test", i)
				all = append(all, event("output", "p", name, still), event("fail", "p", name, ""))
			}
			return all
		}(), "", fmt.Sprint(maxAgain+1, " tests failed")},
		{"another hangs", []string{event("run", "p", "TestB", ""), event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), pkgFailed},
			"", "TestB did not end"},
		{"killed", []string{event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), event("output", "p", "", "panic: test timed out after 20m0s\n"), pkgFailed},
			"", "p: panic: test timed out"},
		{"does not compile", []string{pkgFailed}, "", "no test failed"},
		{"another package does not compile", []string{event("output", "p", "TestA", still), event("fail", "p", "TestA", ""), event("fail", "q", "", "")},
			"", "q failed and none"},
		{"race", []string{event("output", "p", "TestA", still), event("output", "p", "TestA", "WARNING: DATA RACE\n"), event("fail", "p", "TestA", "")},
			"", "DATA RACE"},
		{"cut", []string{`{"Action":"fail"`}, "", "makes no sense"},
	} {
		again, why := unsteady([]byte(strings.Join(test.events, "\n")), steady.Stall{Late: 2 * steady.MaxLate})
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

// TestSkippedInCI does not let a rerun hide that a test was skipped.
func TestSkippedInCI(t *testing.T) {
	t.Setenv("CI", "true")
	events := `{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    x_test.go:1: ` + steady.Exceeded + `\n"}
{"Action":"fail","Package":"p","Test":"TestA"}`
	if again, why := unsteady([]byte(events), steady.Stall{}); why != "TestB was skipped" {
		t.Errorf("%v runs again, %q", again, why)
	}
}

// TestDoesNotWatch: what failed without watching the machine runs again if that stood still in the run, and nothing else does.
func TestDoesNotWatch(t *testing.T) {
	t.Parallel()
	alone := `{"Action":"fail","Package":"p","Test":"TestA"}`
	kept := `{"Action":"output","Package":"p","Test":"TestB","Output":"    x_test.go:1: ` + steady.Within + `\n"}
{"Action":"fail","Package":"p","Test":"TestB"}`
	still := steady.Stall{Late: time.Second}
	if again, why := unsteady([]byte(alone), still); fmt.Sprint(again) != "map[p:[TestA]]" || why != "" {
		t.Errorf("%v runs again, %q", again, why)
	}
	if again, why := unsteady([]byte(alone+"\n"+kept), still); why != "TestB failed while the machine kept up" {
		t.Errorf("%v runs again, %q", again, why)
	}
}

func TestUntested(t *testing.T) {
	t.Parallel()
	const tested = `{"Action":"run","Package":"a","Test":"TestA"}
{"Action":"pass","Package":"a","Test":"TestA"}
{"Action":"pass","Package":"a"}
{"Action":"skip","Package":"no/test/files"}
`
	if err := untested([]byte(tested)); err != nil {
		t.Error(err)
	}
	const none = `{"Action":"output","Package":"b","Output":"ok"}
{"Action":"pass","Package":"b"}
`
	if err := untested([]byte(tested + none)); err == nil || err.Error() != "passed without a test: b" {
		t.Errorf("%v", err)
	}
}
