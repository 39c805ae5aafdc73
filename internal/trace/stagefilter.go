package trace

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"tracer/internal/filter"
	"tracer/internal/journey"
)

// StageFilter chooses journeys by one stage that their packet passed, or is or was dropped in: "queue", "queue>10ms",
// "queue@tunl0>10ms".
// The zero StageFilter takes every one. A *StageFilter is a flag's value.
type StageFilter struct {
	Stage      journey.Stage
	Device     string // "" for any; "pod" for any pod's
	LongerThan time.Duration
}

// knownStages are those that can be asked for.
func knownStages() []journey.Stage {
	return []journey.Stage{
		journey.PodQueue, journey.Forward, journey.Queue, journey.Encap, journey.Decap, journey.Deliver, journey.Unknown,
	}
}

// Set reads what String writes.
func (f *StageFilter) Set(text string) error {
	where, _, limited := strings.Cut(text, ">")
	stage, device, withDevice := strings.Cut(where, "@")
	next := StageFilter{Stage: journey.Stage(strings.TrimSpace(stage)), Device: strings.TrimSpace(device)}
	if !slices.Contains(knownStages(), next.Stage) {
		var names []string
		for _, s := range knownStages() {
			names = append(names, string(s))
		}
		return &filter.SyntaxError{Text: text, Problem: fmt.Sprintf("%q is no stage; there are %s", stage, strings.Join(names, ", "))}
	}
	if withDevice && next.Device == "" {
		return &filter.SyntaxError{Text: text, At: len(stage) + 1, Problem: "a device's name is missing, such as queue@tunl0"}
	}
	if limited {
		var err error
		if next.LongerThan, err = filter.ParseDuration(text, len(where)+1, len(text)); err != nil {
			return err
		}
	}
	*f = next
	return nil
}

// Type is what help calls the value.
func (f *StageFilter) Type() string { return "stage[@device][>time]" }

// String is the filter as Set reads it.
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

// matchPath tells whether one of the path's stages is as asked for.
func (f *StageFilter) matchPath(path *journey.Path) bool {
	if *f == (StageFilter{}) {
		return true
	}
	for _, step := range path.Steps() {
		if f.matchStep(&step) {
			return true
		}
	}
	return f.matchStep(&path.Where)
}

func (f *StageFilter) matchStep(s *journey.Step) bool {
	if s.Stage != f.Stage || s.Delay < f.LongerThan || f.LongerThan > 0 && s.Delay == f.LongerThan {
		return false
	}
	return f.Device == "" || s.Device != nil && (s.Device.Name == f.Device || s.Device.Label == f.Device)
}
