package main

import (
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// anything is what a scenario says where it does not matter.
const anything = "any"

// finding is where and why, as a scenario expects it: what is not given must be null, "any" may be anything.
type finding struct {
	Kind      *string `yaml:"kind"` // not given: any
	Cause     *string `yaml:"cause"`
	Stage     *string `yaml:"stage"`
	Device    *string `yaml:"device"`
	Direction *string `yaml:"direction"` // not given: any
	Severity  string  `yaml:"severity"`  // by itself critical
	// Says is a regular expression that a line of its evidence or of its commands matches.
	Says pattern `yaml:"says"`
}

// pattern is a regular expression; the zero pattern matches anything.
type pattern struct{ re *regexp.Regexp }

func (p *pattern) UnmarshalYAML(node *yaml.Node) error {
	var text string
	if err := node.Decode(&text); err != nil {
		return err
	}
	re, err := regexp.Compile(text)
	p.re = re
	return err
}

func (p pattern) matchesAny(lines ...string) bool {
	return p.re == nil || slices.ContainsFunc(lines, p.re.MatchString)
}

// said is the part of `tracer diagnose -o json` that is judged.
type said struct {
	SchemaVersion int     `json:"schema_version"`
	Window        float64 `json:"window_seconds"`
	Verdict       string  `json:"verdict"`
	Summary       string  `json:"summary"`
	Findings      []struct {
		Kind      string  `json:"kind"`
		Cause     string  `json:"cause"`
		Severity  string  `json:"severity"`
		Stage     *string `json:"stage"`
		Device    *string `json:"device"`
		Direction *string `json:"direction"`

		Evidence []string `json:"evidence"`
		Next     []string `json:"next"`
	} `json:"findings"`
}

func parseReport(text []byte) (said, error) {
	var r said
	if err := json.Unmarshal(text, &r); err != nil {
		return r, fmt.Errorf("read tracer's report: %w", err)
	}
	if r.SchemaVersion != 1 || r.Verdict == "" {
		return r, fmt.Errorf("tracer's report has schema version %d and verdict %q", r.SchemaVersion, r.Verdict)
	}
	return r, nil
}

// is tells whether a report's i-th finding is the expected one. Devices are names; pod:<name> is what fill made of it,
// and all pods' devices may be spoken of as "pod".
func (f finding) is(r said, i int, pods []string) bool {
	got := r.Findings[i]
	severity := f.Severity
	if severity == "" {
		severity = "critical"
	}
	return got.Severity == severity && same(f.Cause, &got.Cause) && (f.Kind == nil || *f.Kind == got.Kind) &&
		same(f.Stage, got.Stage) && sameDevice(f.Device, got.Device, pods) &&
		(f.Direction == nil || same(f.Direction, got.Direction)) && f.Says.matchesAny(slices.Concat(got.Evidence, got.Next)...)
}

func same(want, got *string) bool {
	w, g := text(want), text(got)
	return w == anything || w == g || strings.Contains(w, "|") && slices.Contains(strings.Split(w, "|"), g)
}

func sameDevice(want, got *string, pods []string) bool {
	return same(want, got) || slices.Contains(pods, text(want)) && text(got) == "pod"
}

// text is a word, "" for null.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// named tells whether the report says what is expected: its first finding is one of those expected, and none of these
// is missing; if they stand alone, nothing else is critical.
func (e expectation) named(r said, pods []string) bool {
	if !slices.Contains(e.Verdict, r.Verdict) || len(r.Findings) == 0 {
		return false
	}
	if e.Alone && slices.ContainsFunc(indices(r), func(i int) bool {
		return r.Findings[i].Severity == "critical" && !slices.ContainsFunc(e.Findings, func(f finding) bool { return f.is(r, i, pods) })
	}) {
		return false
	}
	for _, f := range e.Findings {
		if !slices.ContainsFunc(indices(r), func(i int) bool { return f.is(r, i, pods) }) {
			return false
		}
	}
	return slices.ContainsFunc(e.Findings, func(f finding) bool { return f.is(r, 0, pods) })
}

func indices(r said) []int {
	all := make([]int, len(r.Findings))
	for i := range all {
		all[i] = i
	}
	return all
}

// alarms tells whether a healthy scenario's report is a false alarm: another verdict, or a cause that it is not.
func (e expectation) alarms(r said) bool {
	return !slices.Contains(e.Verdict, r.Verdict) || slices.ContainsFunc(indices(r), func(i int) bool { return slices.Contains(e.Never, r.Findings[i].Cause) })
}

// String is the expectation as the table has it.
func (e expectation) String() string {
	if len(e.Findings) == 0 {
		return strings.Join(e.Verdict, " or ")
	}
	var all []string
	for _, f := range e.Findings {
		all = append(all, describe(text(f.Cause), text(f.Stage), text(f.Device), text(f.Direction)))
	}
	return strings.Join(all, " + ")
}

// String is a report as the table has it: what is critical, or else what is not.
func (r said) String() string {
	var all []string
	for _, f := range r.Findings {
		if f.Severity == "critical" || r.Verdict != "fault" {
			all = append(all, describe(f.Cause, text(f.Stage), text(f.Device), text(f.Direction)))
		}
	}
	if r.Verdict != "fault" {
		all = append([]string{r.Verdict}, all...)
	}
	return strings.Join(all, " + ")
}

// write prints a report for whoever asks why it is wrong.
func (r said) write(w io.Writer) {
	fmt.Fprintf(w, "  %s\n", r.Summary)
	for _, f := range r.Findings {
		fmt.Fprintf(w, "  %s: %s\n", f.Severity, describe(f.Cause, text(f.Stage), text(f.Device), text(f.Direction)))
		for _, line := range f.Evidence {
			fmt.Fprintf(w, "    %s\n", line)
		}
	}
}

func describe(cause, stage, device, direction string) string {
	words := []string{cause}
	for _, w := range []string{stage, device, direction} {
		if w != "" {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}
