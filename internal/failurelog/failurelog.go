// Package failurelog logs what fails again and again: once as it begins to, and once as it is over.
package failurelog

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// maxTexts is how many different errors are logged while something fails: some tell of what changes each time.
const maxTexts = 8

// Operation is something that is done again and again. It may be used by several goroutines.
type Operation struct {
	log     *slog.Logger
	level   slog.Level
	message string
	now     func() time.Time

	mu       sync.Mutex
	failures uint64 // in a row
	since    time.Time
	texts    map[string]bool // that were logged since
}

// New returns an operation whose failure is logged with the level and the message, such as "cannot read the BPF maps".
func New(log *slog.Logger, level slog.Level, message string) *Operation {
	return &Operation{log: log, level: level, message: message, now: time.Now}
}

// Done takes the result of the operation each time that it is done. An error is logged unless the same one was since the
// operation failed first; the first success after that is logged with how often it failed.
func (o *Operation) Done(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		if o.failures > 0 {
			o.log.Info("works again", "after", o.message, "failures", o.failures, "for", o.now().Sub(o.since).Round(time.Millisecond))
		}
		o.failures, o.texts = 0, nil
		return
	}
	if o.failures++; o.failures == 1 {
		o.since, o.texts = o.now(), make(map[string]bool)
	}
	if text := err.Error(); !o.texts[text] && len(o.texts) < maxTexts {
		o.texts[text] = true
		o.log.Log(context.Background(), o.level, o.message, "err", err)
	}
}
