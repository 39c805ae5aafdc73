package diagnose

import (
	"strings"
	"time"

	"tracer/internal/journey"
	"tracer/internal/netdev"
)

const (
	// onset is how long before the window a change may have been made that explains what is seen in it.
	onset = time.Minute
	// maxChanges is how many changes a finding names.
	maxChanges = 3
)

// changes are evidence of what was changed near the onset of a finding, at its device or in its routes, the last ones.
func (w *window) changes(f *Finding) []string {
	var out []string
	for i := len(w.to.Events) - 1; i >= 0 && len(out) < maxChanges; i-- {
		e := &w.to.Events[i]
		if e.Time.Before(w.from.Taken.Add(-onset)) {
			break
		}
		if !f.concerns(e) {
			continue
		}
		out = append(out, strings.Join(strings.Fields(e.Time.Format("15:04:05")+": "+e.Device+" "+e.Text), " "))
	}
	return out
}

// concerns tells whether a change may have to do with the finding.
func (f *Finding) concerns(e *netdev.Event) bool {
	switch e.Kind {
	case netdev.RouteEvent:
		return f.Cause == NoRoute || f.Cause == Neighbour || f.Cause == RPFilter
	case netdev.QdiscEvent:
		return f.Stage == journey.Queue && f.Device == e.Device
	}
	return f.Device == e.Device || e.Role.LeadsOut()
}
