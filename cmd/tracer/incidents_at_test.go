package main

import (
	"strings"
	"testing"
	"time"

	"tracer/internal/incident"
)

// TestIncidentAt takes a time of day as the one of the incident's, also past midnight, and none outside of it.
func TestIncidentAt(t *testing.T) {
	t.Parallel()
	midnight := time.Date(2026, 5, 2, 0, 0, 0, 0, time.Local)
	kept := func(began, first, last time.Duration) *incident.Incident {
		i := &incident.Incident{Header: incident.Header{Began: midnight.Add(began)}}
		for at := first; at <= last; at += 30 * time.Second {
			i.Frames = append(i.Frames, incident.Frame{Taken: midnight.Add(at + 400*time.Millisecond)})
		}
		return i
	}
	before := kept(-time.Minute, -2*time.Minute, 4*time.Minute)
	after := kept(30*time.Second, -time.Minute, 5*time.Minute)
	for _, test := range []struct {
		i    *incident.Incident
		at   string
		want time.Duration // after midnight; 1 for an error
	}{
		{before, "23:58:00", -2 * time.Minute},
		{before, "00:02:10", 2 * time.Minute},
		{before, "00:04:00", 4 * time.Minute},
		{before, "23:57:59", 1},
		{before, "00:04:01", 1},
		{before, "12:00:00", 1},
		{after, "23:59:29", -time.Minute},
		{after, "00:00:30", 30 * time.Second},
		{after, "23:58:59", 1},
		{after, midnight.Add(time.Minute).Format(time.RFC3339), time.Minute},
		{after, midnight.Add(-24 * time.Hour).Format(time.RFC3339), 1},
		{after, "midnight", 1},
	} {
		flags := incidentsFlags{at: test.at}
		frame, err := flags.frame(test.i)
		switch {
		case test.want == 1:
			if err == nil {
				t.Errorf("%s: the frame of %v", test.at, frame.Taken)
			}
		case err != nil:
			t.Errorf("%s: %v", test.at, err)
		case !frame.Taken.Equal(midnight.Add(test.want + 400*time.Millisecond)):
			t.Errorf("%s: the frame of %v", test.at, frame.Taken)
		}
	}
	flags := incidentsFlags{at: "12:00:00"}
	if _, err := flags.frame(before); err == nil || !strings.Contains(err.Error(), "from 2026-05-01 23:58:00 to 2026-05-02 00:04:00") {
		t.Errorf("%v", err)
	}
}
