package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"tracer/test/steady"
)

// counts are how many tests a part had, how many of them were skipped, and how often one ran again, or a measurement in one.
type counts struct {
	tests, skipped, reruns int
	ranAgain               []string // the names of those, where they are known
}

// The closing lines of guests and of scoreboards. Gotestsum's does not say how often a test ran.
var (
	guestLine    = regexp.MustCompile(`(?m)^vm: kernel .*: (\d+) tests passed, (\d+) failed, (\d+) skipped`)
	scoreLine    = regexp.MustCompile(`(?m)^scoreboard: \d+/(\d+) faults named, \d+/(\d+) false alarms$`)
	againLine    = regexp.MustCompile(`(?m)^(\d+) runs were played again$`)
	startedAgain = regexp.MustCompile(`(?m)^vm: kernel .*: started again: `)
	runsAgain    = regexp.MustCompile(`(?m)^vm: kernel (.*): runs again: (.*)$`)
)

// count reads go test's events, if there are any, and the closing lines of what else counts.
func count(events, text []byte) (c counts) {
	type test struct{ pkg, name string }
	ran := map[test]int{}
	for d := json.NewDecoder(bytes.NewReader(events)); ; {
		var e struct{ Action, Package, Test, Output string }
		if d.Decode(&e) != nil { // the end, or half an event of a run that was killed
			break
		}
		if e.Test == "" {
			continue
		}
		switch e.Action {
		case "output":
			if strings.Contains(e.Output, steady.AskedAgain) {
				c.reruns++
				c.ranAgain = append(c.ranAgain, e.Test)
			}
		case "skip":
			c.skipped++
			fallthrough
		case "pass", "fail":
			ran[test{e.Package, e.Test}]++
		}
	}
	for t, times := range ran {
		c.tests++
		c.reruns += times - 1
		if times > 1 {
			c.ranAgain = append(c.ranAgain, t.name)
		}
	}
	for _, m := range guestLine.FindAllSubmatch(text, -1) {
		c.tests += number(m[1]) + number(m[2]) + number(m[3])
		c.skipped += number(m[3])
	}
	for _, m := range scoreLine.FindAllSubmatch(text, -1) {
		c.tests += number(m[1]) + number(m[2])
	}
	for _, m := range againLine.FindAllSubmatch(text, -1) {
		c.reruns += number(m[1])
	}
	c.reruns += len(startedAgain.FindAll(text, -1))
	for _, m := range runsAgain.FindAllSubmatch(text, -1) {
		for name := range strings.SplitSeq(string(m[2]), ", ") {
			c.reruns++
			c.ranAgain = append(c.ranAgain, fmt.Sprintf("%s on %s", name, m[1]))
		}
	}
	slices.Sort(c.ranAgain)
	c.ranAgain = slices.Compact(c.ranAgain)
	return c
}

func number(digits []byte) int {
	n, _ := strconv.Atoi(string(digits)) // the expressions match nothing else
	return n
}
