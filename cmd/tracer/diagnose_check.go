package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"tracer/internal/diagnose"
	"tracer/internal/export/api"
	"tracer/internal/loader"
	"tracer/internal/netdev"
)

// What node-problem-detector's custom plugins exit with, and what it takes of their output by default.
const (
	checkOK, checkProblem, checkUnknown = 0, 1, 2
	checkBytes                          = 80
)

const (
	// checkWithin is how long the agent may take, with room in the plugin's own time-out.
	checkWithin = 2500 * time.Millisecond
	// checkCriticalFor is how long a finding must have been critical: what passes by itself is no condition of a node.
	checkCriticalFor = 3 * time.Minute
	// checkMaxAge is how old the agent's latest diagnosis may be. It makes one every 5 s.
	checkMaxAge = 30 * time.Second
)

// checkNode writes one line on how this node's overlay and uplink are, as the agent has it, and returns the exit code.
func checkNode(ctx context.Context, runDir string, now func() time.Time, out io.Writer) int {
	ctx, cancel := context.WithTimeout(ctx, checkWithin)
	defer cancel()
	active, err := askActiveFindings(ctx, runDir)
	code, line := checkUnknown, "no tracer agent runs here"
	switch {
	case errors.Is(err, api.ErrNoAgent):
	case errors.Is(err, context.DeadlineExceeded):
		line = "the tracer agent does not answer in time"
	case err != nil:
		line = "cannot ask the tracer agent: " + err.Error()
	default:
		code, line = conclude(active, now())
	}
	fmt.Fprintln(out, shorten(line, checkBytes-1))
	return code
}

// askActiveFindings asks the agent of this network namespace, or, in a container with one of its own, the node's.
func askActiveFindings(ctx context.Context, runDir string) (api.ActiveFindings, error) {
	files, err := loader.CurrentFiles(runDir)
	if err != nil {
		return api.ActiveFindings{}, err
	}
	var active api.ActiveFindings
	for _, socket := range []string{files.Socket(), files.AgentSocket()} {
		client := api.Dial(socket)
		active, err = client.ActiveFindings(ctx)
		client.Close()
		if !errors.Is(err, api.ErrNoAgent) {
			break
		}
	}
	return active, err
}

// conclude tells whether the overlay or an uplink of this node has been at fault for long enough, as exit code and text.
func conclude(active api.ActiveFindings, now time.Time) (int, string) {
	switch {
	case active.Judged.IsZero():
		return checkUnknown, "the tracer agent has only just started"
	case now.Sub(active.Judged) > checkMaxAge:
		return checkUnknown, fmt.Sprintf("the tracer agent made its latest diagnosis %s ago", now.Sub(active.Judged).Round(time.Second))
	}
	for i := range active.Findings {
		a := &active.Findings[i]
		f := &a.Finding
		if f.Severity != diagnose.Critical || !isNodeFault(a) || now.Sub(a.CriticalSince) < checkCriticalFor {
			continue
		}
		line := fmt.Sprintf("%s %s", f.Device, f.Cause)
		switch {
		case f.Delay != nil && f.Delay.P50 != nil:
			line += fmt.Sprintf(" %.0f ms", *f.Delay.P50*1000)
		case f.Drops != nil && f.Drops.Ratio != nil:
			line += fmt.Sprintf(" %.1f %%", *f.Drops.Ratio*100)
		}
		return checkProblem, fmt.Sprintf("%s for %s; see tracer diagnose", line, now.Sub(a.CriticalSince).Truncate(time.Minute))
	}
	for i := range active.Coverage {
		if c := &active.Coverage[i]; c.Blind() && c.Device != netdev.PodLabel {
			return checkUnknown, c.Sentence() + "; see tracer diagnose"
		}
	}
	return checkOK, "overlay and uplink are fine"
}

// isNodeFault tells whether a finding is this node's own, at its overlay or uplink. A firewall rule that drops packets does
// what it was made for.
func isNodeFault(a *api.ActiveFinding) bool {
	if a.Finding.Cause == diagnose.LinkDown { // a device that is gone has no role any more
		return true
	}
	return a.Role.LeadsOut() && a.Finding.Cause != diagnose.PolicyDrop
}

// shorten cuts a line to so many bytes, and no character in two.
func shorten(line string, limit int) string {
	if len(line) <= limit {
		return line
	}
	for limit > 0 && !utf8.RuneStart(line[limit]) {
		limit--
	}
	return line[:limit]
}
