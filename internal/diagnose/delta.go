package diagnose

import "tracer/internal/record"

// rose is by how much one of the kernel's IP counters rose in the window; 0 if that is not known. One that is left out
// is 0.
func (w *window) rose(counter string) uint64 {
	if w.StatsBefore.Protocols == nil {
		return 0
	}
	now, then := w.Stats.Protocols[counter], w.StatsBefore.Protocols[counter]
	return now - min(now, then)
}

// softnet is what softirqs counted in the window; false if that is not known.
func (w *window) softnet() (record.Softnet, bool) {
	now, then := w.Stats.Softnet, w.StatsBefore.Softnet
	if now == nil || then == nil {
		return record.Softnet{}, false
	}
	return record.Softnet{
		Processed:   now.Processed - min(now.Processed, then.Processed),
		Dropped:     now.Dropped - min(now.Dropped, then.Dropped),
		TimeSqueeze: now.TimeSqueeze - min(now.TimeSqueeze, then.TimeSqueeze),
	}, true
}

// conntrack is what the connection table counted in the window, with its size now; false if that is not known.
func (w *window) conntrack() (record.Conntrack, bool) {
	now, then := w.Stats.Conntrack, w.StatsBefore.Conntrack
	if now == nil || then == nil {
		return record.Conntrack{}, false
	}
	return record.Conntrack{
		Entries: now.Entries, Max: now.Max,
		InsertFailed: now.InsertFailed - min(now.InsertFailed, then.InsertFailed),
		Drop:         now.Drop - min(now.Drop, then.Drop),
		EarlyDrop:    now.EarlyDrop - min(now.EarlyDrop, then.EarlyDrop),
	}, true
}
