// Gotest runs Go tests by gotestsum, and runs again what failed while the machine stood still, at most three times in all:
//
//	go run ./test/gotest PACKAGES... -- FLAGS-OF-GO-TEST...
//
// A test that fails on a machine that kept up has failed, and so have many at once. One that does not watch the machine itself
// (test/steady) is judged by how the machine did in the whole run. Go test's events go to the file $JSON, if there is one, of all runs.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"tracer/test/steady"
)

const (
	maxRuns = 3
	// maxAgain is how many tests may run again: where more fail, something else is wrong.
	maxAgain = 6
)

func main() {
	packages, flags := os.Args[1:], []string(nil)
	if i := slices.Index(packages, "--"); i >= 0 {
		packages, flags = packages[:i], packages[i+1:]
	}
	if len(packages) == 0 {
		fmt.Fprintln(os.Stderr, "gotest: say which packages: go run ./test/gotest PACKAGES... -- FLAGS-OF-GO-TEST...")
		os.Exit(2)
	}
	if err := run(packages, flags); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}

func run(packages, flags []string) error {
	events, stall, err := runOnce(packages, flags)
	for runs := 1; err != nil && runs < maxRuns; runs++ {
		again, why := unsteady(events, stall)
		if why != "" {
			return fmt.Errorf("%w (nothing runs again: %s)", err, why)
		}
		events, stall, err = nil, steady.Stall{}, nil
		for pkg, names := range again {
			fmt.Printf("gotest: the machine stood still: %s runs again: %s\n", pkg, strings.Join(names, ", "))
			one, oneStall, oneErr := runOnce([]string{pkg}, append(slices.Clone(flags), "-run", "^("+strings.Join(names, "|")+")$"))
			events, err = append(events, one...), errors.Join(err, oneErr)
			stall.Late, stall.Steal = max(stall.Late, oneStall.Late), max(stall.Steal, oneStall.Steal)
		}
	}
	return err
}

// runOnce runs tests once, and returns go test's events, and how the machine did meanwhile.
func runOnce(packages, flags []string) (events []byte, stall steady.Stall, err error) {
	dir, err := os.MkdirTemp("", "gotest-")
	if err != nil {
		return nil, stall, err
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "events.json")
	args := []string{"tool", "-modfile=tools/go.mod", "gotestsum", "--format", "standard-quiet", "--jsonfile", file,
		"--post-run-command", "hack/no-skips", "--"}
	args = append(args, packages...) // before flags that are the tests' own, where go test takes no packages any more
	cmd := exec.Command("go", append(args, flags...)...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	watcher, err := steady.Start()
	if err != nil {
		return nil, stall, err
	}
	failed := cmd.Run()
	stall, watchErr := watcher.Stop()
	events, err = os.ReadFile(file)
	if err != nil {
		return nil, stall, errors.Join(failed, watchErr, err)
	}
	if failed == nil {
		failed = untested(events)
	}
	return events, stall, errors.Join(failed, watchErr, keep(events))
}

// keep appends events to the file that is asked for.
func keep(events []byte) error {
	name := os.Getenv("JSON")
	if name == "" {
		return nil
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(events)
	return errors.Join(err, f.Close())
}
