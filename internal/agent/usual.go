package agent

import (
	"errors"
	"io/fs"
	"path/filepath"

	"tracer/internal/diagnose"
	"tracer/internal/statefile"
)

// usualVersion is that of the format of what is kept.
const usualVersion = 1

// keptUsual is what is usual, as it is kept for the next start.
type keptUsual struct {
	Version int                      `json:"version"`
	Places  []diagnose.StageBaseline `json:"places"`
}

func (a *Agent) usualPath() string { return filepath.Join(a.options.StateDir, "usual.json") }

// restoreUsual takes what an earlier run has learnt. Without it there are expectations, and some minutes later more.
func (a *Agent) restoreUsual() {
	if a.options.StateDir == "" {
		return
	}
	var state keptUsual
	var io *fs.PathError
	switch err := statefile.Read(a.usualPath(), usualVersion, &state); {
	case errors.Is(err, fs.ErrNotExist):
	case errors.As(err, &io):
		a.options.Log.Warn("what is usual cannot be read and is learnt anew; see that the file is readable, or give another --state-dir", "err", err)
	case err != nil:
		aside, asideErr := statefile.SetAside(a.usualPath())
		a.options.Log.Warn("what an earlier run found usual is set aside, and learnt anew", "err", errors.Join(err, asideErr), "file", aside)
	default:
		a.verdicts.baseline.Restore(state.Places)
		a.verdicts.usual = a.verdicts.baseline.P50()
	}
}

// keepUsual writes down what is usual.
func (a *Agent) keepUsual() {
	if a.options.StateDir == "" {
		return
	}
	a.verdicts.mu.Lock()
	state := keptUsual{usualVersion, a.verdicts.baseline.Stages()}
	a.verdicts.mu.Unlock()
	if err := statefile.Write(a.usualPath(), state); err != nil {
		a.options.Log.Warn("what is usual is not kept for the next start; make the directory writable, or give another with --state-dir", "err", err)
	}
}
