//go:build unix

package incident

import (
	"context"
	"fmt"
	"os"
	"time"
)

// Lister lists a Store again and again: it reads only the files that have changed. It is used by one goroutine at a time.
type Lister struct {
	Store *Store

	known map[string]known // by ID, those of the last list
}

// known is a file's summary, and what the file was when it was read.
type known struct {
	bytes   int64
	mtime   time.Time
	summary Summary
}

// List is of at most so many incidents, the latest first. What cannot be read is listed with why.
func (l *Lister) List(ctx context.Context, most int) (List, error) {
	entries, err := l.Store.Entries()
	if err != nil {
		return List{}, err
	}
	list := List{SchemaVersion: SchemaVersion, Incidents: []Summary{}, Total: len(entries)}
	seen := make(map[string]known, min(most, len(entries)))
	for _, e := range entries[:min(most, len(entries))] {
		if err := ctx.Err(); err != nil {
			return List{}, err
		}
		k, ok := l.known[e.ID]
		if !ok || k.bytes != e.Bytes || !k.mtime.Equal(e.mtime) {
			k = known{e.Bytes, e.mtime, e.summary()}
		}
		seen[e.ID] = k
		list.Incidents = append(list.Incidents, k.summary)
	}
	l.known = seen
	return list, nil
}

// summary is that of the file.
func (e *Entry) summary() Summary {
	summary, err := e.read()
	if err != nil {
		return Summary{ID: e.ID, Began: e.Began, Error: err.Error()}
	}
	return summary
}

func (e *Entry) read() (Summary, error) {
	if e.Bytes > maxRead {
		return Summary{}, fmt.Errorf("%s: %w", e.Path, ErrTooLarge)
	}
	file, err := os.Open(e.Path)
	if err != nil {
		return Summary{}, fmt.Errorf("read incident: %w", err)
	}
	defer file.Close()
	summary, err := ReadSummary(file)
	if err != nil {
		return Summary{}, fmt.Errorf("%s: %w", e.Path, err)
	}
	summary.ID = e.ID // by which it is asked for
	return summary, nil
}
