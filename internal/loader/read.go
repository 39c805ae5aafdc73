package loader

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cilium/ebpf/ringbuf"

	"tracer/internal/record"
)

const (
	// readInterval is how often the ring is read when it fills too slowly to wake us.
	readInterval = 100 * time.Millisecond
	// batchSize is how many records are handed over at once.
	batchSize = 256
)

// Run reads records and hands them over in batches until ctx ends or the loader is closed. A batch is valid only
// during the call; it is empty when there was nothing to read for a while, so that a caller can tell a quiet
// network from a stuck reader. Only one Run may be active.
func (l *Loader) Run(ctx context.Context, handle func([]record.Record)) error {
	batch := make([]record.Record, batchSize)
	n := 0
	flush := func() {
		handle(batch[:n])
		n = 0
	}
	var raw ringbuf.Record
	l.reader.SetDeadline(time.Now().Add(readInterval))
	for {
		err := l.reader.ReadInto(&raw)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			flush()
			if ctx.Err() != nil {
				return nil //nolint:nilerr // the deadline is no error, it is our timer
			}
			l.reader.SetDeadline(time.Now().Add(readInterval))
			continue
		case errors.Is(err, ringbuf.ErrClosed):
			flush()
			return nil
		case err != nil:
			return fmt.Errorf("read the ring buffer: %w", err)
		}
		if !l.take(raw.RawSample, &batch[n]) {
			l.undecoded.Add(1)
			continue
		}
		if n++; n == batchSize {
			flush()
			if ctx.Err() != nil {
				return nil //nolint:nilerr // asked to end
			}
		}
	}
}

// take makes a record of what the kernel wrote; false if it makes no sense.
func (l *Loader) take(raw []byte, r *record.Record) bool {
	if isTCP(raw) {
		k, err := decodeTCP(raw)
		if err != nil {
			return false
		}
		convertTCP(k, r)
		return true
	}
	if isRequest(raw) {
		k, err := decodeRequest(raw)
		if err != nil || convertRequest(k, r) != nil {
			return false
		}
		lost := r.Request.Outcome == record.GivenUp || r.Request.Outcome == record.Closed
		r.Request.Told = lost && l.watched.told[watchedRequest{k.Flow, k.AskedNs}]
		return true
	}
	k, err := decode(raw)
	return err == nil && convert(k, l.symbols, r) == nil
}
