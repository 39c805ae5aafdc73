package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"

	"tracer/test/steady"
)

// window is the time that tracer judges: what goes on in it, and what is watched from its beginning on.
type window struct {
	p    *play
	real *reality
	ends []func() error
	// stall is how far the machine fell behind while it was open.
	stall steady.Stall
}

// open begins it. What has begun goes on until close is called, whatever open returns.
func (w *window) open(ctx context.Context) (err error) {
	watcher, err := steady.Start()
	if err != nil {
		return err
	}
	w.ends = append(w.ends, func() (err error) {
		w.stall, err = watcher.Stop()
		return err
	})
	if w.real, err = w.p.watch(ctx); err != nil {
		return err
	}
	for _, s := range w.p.During {
		end, err := w.p.begin(ctx, s)
		if err != nil {
			return err
		}
		w.ends = append(w.ends, end)
	}
	return nil
}

// close ends what open has begun, and says what of it failed.
func (w *window) close() error {
	var errs []error
	for _, end := range w.ends {
		errs = append(errs, end())
	}
	w.ends = nil
	return errors.Join(errs...)
}

// tracingStarted is what tracer logs when all that it attaches is in place.
const tracingStarted = `msg="tracing started"`

// openAt opens the window when the line that says that tracing has started comes, and returns all others. If it does not open, it
// calls stop.
func (w *window) openAt(ctx context.Context, log io.Reader, stop func()) (complaint []byte, err error) {
	for lines := bufio.NewReader(log); ; {
		line, readErr := lines.ReadBytes('\n')
		if w.real == nil && bytes.Contains(line, []byte(tracingStarted)) {
			if err = w.open(ctx); err != nil {
				stop()
			}
		} else {
			complaint = append(complaint, line...)
		}
		if readErr != nil { // the end
			return complaint, err
		}
	}
}
