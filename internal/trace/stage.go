package trace

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tracer/internal/journey"
)

// SyntaxError says where a text that somebody typed makes no sense.
type SyntaxError struct {
	Text    string
	At      int // the byte
	Problem string
}

// Error is the problem, and under it the text with its place pointed at.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("%s\n  %s\n  %s^", e.Problem, e.Text, strings.Repeat(" ", len([]rune(e.Text[:e.At]))))
}

// StageFilter chooses journeys by one stage that they passed, or ended in: "queue", "queue>10ms", "queue@tunl0>10ms".
// The zero StageFilter takes every one. A *StageFilter is a flag's value.
type StageFilter struct {
	Stage      journey.Stage
	Device     string // "" for any; "pod" for any pod's
	LongerThan time.Duration
}

// stages are those that can be asked for.
var stages = []journey.Stage{
	journey.Forward, journey.Queue, journey.Encap, journey.Decap, journey.Deliver, journey.Unknown,
}

// Set reads what String writes.
func (f *StageFilter) Set(text string) error {
	place, limit, limited := strings.Cut(text, ">")
	stage, device, placed := strings.Cut(place, "@")
	next := StageFilter{Stage: journey.Stage(strings.TrimSpace(stage)), Device: strings.TrimSpace(device)}
	if !slices.Contains(stages, next.Stage) {
		names := make([]string, len(stages))
		for i, s := range stages {
			names[i] = string(s)
		}
		return &SyntaxError{text, 0, fmt.Sprintf("%q is no stage; there are %s", stage, strings.Join(names, ", "))}
	}
	if placed && next.Device == "" {
		return &SyntaxError{text, len(stage) + 1, "a device's name is missing, such as queue@tunl0"}
	}
	if limited {
		var err error
		next.LongerThan, err = time.ParseDuration(strings.TrimSpace(limit))
		if err != nil || next.LongerThan < 0 {
			return &SyntaxError{text, len(place) + 1, fmt.Sprintf("%q is no time; give one with its unit, such as 10ms", limit)}
		}
	}
	*f = next
	return nil
}

// Type is what help calls the value.
func (f *StageFilter) Type() string { return "stage[@device][>time]" }

func (f *StageFilter) String() string {
	text := string(f.Stage)
	if f.Device != "" {
		text += "@" + f.Device
	}
	if f.LongerThan != 0 {
		text += ">" + f.LongerThan.String()
	}
	return text
}

func (f *StageFilter) match(path *journey.Path) bool {
	if *f == (StageFilter{}) {
		return true
	}
	for _, step := range path.Steps() {
		if f.takes(&step) {
			return true
		}
	}
	return f.takes(&path.At)
}

func (f *StageFilter) takes(s *journey.Step) bool {
	if s.Stage != f.Stage || s.Delay < f.LongerThan || f.LongerThan > 0 && s.Delay == f.LongerThan {
		return false
	}
	return f.Device == "" || s.Device != nil && (s.Device.Name == f.Device || s.Device.Label == f.Device)
}
