package incident

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"tracer/internal/diagnose"
	"tracer/internal/netdev"
)

// SchemaVersion is that of List, Shown and Story as JSON: fields may be added under one version.
const SchemaVersion = 1

// Summary is an incident in a list.
type Summary struct {
	ID       string            `json:"id"`
	Began    time.Time         `json:"began"`
	Ended    *time.Time        `json:"ended"` // null if that is not known
	Node     string            `json:"node"`
	Cause    diagnose.Cause    `json:"cause"`
	Severity diagnose.Severity `json:"severity"`
	Text     string            `json:"text"`
	Frames   int               `json:"frames"`
	Damaged  int               `json:"damaged_lines"`
	Error    string            `json:"error,omitempty"` // why it cannot be read
}

// List is of the latest incidents, the latest first.
type List struct {
	SchemaVersion int       `json:"schema_version"`
	Incidents     []Summary `json:"incidents"`
	Total         int       `json:"incidents_total"` // with those that are not listed
}

// Shown is an incident with the report of one of its frames.
type Shown struct {
	SchemaVersion int `json:"schema_version"`
	Summary
	Taken   time.Time       `json:"taken"`
	Report  diagnose.Report `json:"report"`
	Changes []Change        `json:"changes"`
	Events  []netdev.Event  `json:"events"` // changes of links, routes and qdiscs
}

// Story is an incident with the list of its frames, which are shown one after the other.
type Story struct {
	Shown
	Told     int      `json:"told_frame"` // the one whose report it is, the first being 0
	Timeline []Moment `json:"timeline"`
}

// Moment is a frame in a list.
type Moment struct {
	Taken    time.Time        `json:"taken"`
	Verdict  diagnose.Verdict `json:"verdict"`
	Findings int              `json:"findings"`
}

// Summary is that of an incident.
func (i *Incident) Summary() Summary {
	principal := i.Principal()
	s := Summary{
		ID: i.ID, Began: i.Began, Node: i.Node, Cause: principal.Cause, Severity: principal.Severity, Text: principal.Sentence(),
		Frames: len(i.Frames), Damaged: i.Damaged,
	}
	if end := i.Ended(); !end.IsZero() {
		s.Ended = &end
	}
	return s
}

// ShownAt is an incident with the report of a frame of it.
func (i *Incident) ShownAt(f *Frame) Shown {
	return Shown{SchemaVersion: SchemaVersion, Summary: i.Summary(), Taken: f.Taken, Report: f.Report, Changes: i.Changes, Events: i.Events()}
}

// ErrNoFrame tells that nothing of an incident can be shown.
var ErrNoFrame = errors.New("no frame of this incident could be read")

// Story is an incident with all of its frames in a list, and the report that it is told by.
func (i *Incident) Story() (Story, error) {
	f := i.Told()
	if f == nil {
		return Story{}, ErrNoFrame
	}
	s := Story{Shown: i.ShownAt(f), Timeline: make([]Moment, len(i.Frames))}
	for k := range i.Frames {
		frame := &i.Frames[k]
		if frame == f {
			s.Told = k
		}
		s.Timeline[k] = Moment{frame.Taken, frame.Report.Verdict, len(frame.Report.Findings)}
	}
	return s, nil
}

// ReadSummary reads what a list has of an incident, without its frames. An error is a *VersionError where the file is of another version.
func ReadSummary(r io.Reader) (Summary, error) {
	frames := 0
	i, err := read(bufio.NewReaderSize(r, 64<<10), func(i *Incident, text []byte) error {
		var l struct {
			Frame *struct {
				Counts *json.RawMessage `json:"counts"`
			} `json:"frame"`
			Change *Change `json:"change"`
		}
		if err := json.Unmarshal(text, &l); err != nil {
			return fmt.Errorf("read line: %w", err)
		}
		switch {
		case l.Frame != nil && l.Frame.Counts != nil:
			frames++
		case l.Change != nil:
			i.Changes = append(i.Changes, *l.Change)
		}
		return nil
	})
	if err != nil {
		return Summary{}, err
	}
	s := i.Summary()
	s.Frames = frames
	return s, nil
}
