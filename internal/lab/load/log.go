package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"sync"
	"time"
)

// logBytes is how large a log grows before it is rotated. The log and its predecessor hold twenty minutes of the default load.
const logBytes = 4 << 20

// Entry is one line of a log, times by CLOCK_MONOTONIC in nanoseconds. Of a packet that was only sent, Arrived,
// Received and Delay are zero; RoundTrip is known of responses alone. Where sender and receiver have clocks of their own, Delay may
// be negative.
type Entry struct {
	Seq       uint64        `json:"seq"`
	Sent      time.Duration `json:"sent_ns"`
	Arrived   time.Duration `json:"arrived_ns,omitempty"` // in the receiver's kernel; Received is when it was read
	Received  time.Duration `json:"received_ns,omitempty"`
	Delay     time.Duration `json:"delay_ns,omitempty"`
	RoundTrip time.Duration `json:"round_trip_ns,omitempty"`
	Port      uint16        `json:"port,omitempty"` // the sender's, where it has several
}

func (e Entry) appendTo(b []byte) []byte {
	field := func(name string, v int64) {
		b = append(b, name...)
		b = strconv.AppendInt(b, v, 10)
	}
	field(`{"seq":`, int64(e.Seq))
	field(`,"sent_ns":`, int64(e.Sent))
	if e.Arrived != 0 {
		field(`,"arrived_ns":`, int64(e.Arrived))
	}
	if e.Received != 0 {
		field(`,"received_ns":`, int64(e.Received))
		field(`,"delay_ns":`, int64(e.Delay))
	}
	if e.RoundTrip != 0 {
		field(`,"round_trip_ns":`, int64(e.RoundTrip))
	}
	if e.Port != 0 {
		field(`,"port":`, int64(e.Port))
	}
	return append(b, '}', '\n')
}

// logFile is a file of entries, one JSON object a line, with at most one predecessor at path + ".1". It may be used
// from several goroutines.
type logFile struct {
	path string
	max  int

	mu   sync.Mutex
	file *os.File
	buf  *bufio.Writer
	line []byte
	size int
	err  error // the first that writing met
}

// createLog makes an empty log of at most max bytes; its predecessor may have as many.
func createLog(path string, max int) (*logFile, error) {
	l := &logFile{path: path, max: max}
	if err := l.open(); err != nil {
		return nil, fmt.Errorf("create log: %w", err)
	}
	return l, nil
}

func (l *logFile) open() error {
	file, err := os.OpenFile(l.path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	l.file, l.size = file, 0
	l.buf = bufio.NewWriterSize(file, 32<<10)
	return nil
}

// Append adds an entry. It reaches the file with the next Flush, which returns what went wrong: the load goes on
// while a disk is full.
func (l *logFile) Append(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return
	}
	l.line = e.appendTo(l.line[:0])
	if l.size+len(l.line) > l.max {
		if l.err = l.rotate(); l.err != nil {
			return
		}
	}
	n, err := l.buf.Write(l.line)
	l.size += n
	l.err = err
}

func (l *logFile) rotate() error {
	if err := errors.Join(l.buf.Flush(), l.file.Close()); err != nil {
		return err
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return err
	}
	return l.open()
}

// Flush writes what is buffered and returns the first error that the log ever met.
func (l *logFile) Flush() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = l.buf.Flush()
	}
	return l.err
}

// Close flushes and closes the file.
func (l *logFile) Close() error {
	return errors.Join(l.Flush(), l.file.Close())
}

// ReadLog returns a log's entries that were sent at or after from, oldest first, also while it is being
// written. A log that does not exist has none.
func ReadLog(path string, from time.Duration) ([]Entry, error) {
	entries, err := readFile(path)
	if err != nil {
		return nil, fmt.Errorf("read log: %w", err)
	}
	// The predecessor matters only if this file begins after from, or was just begun.
	if len(entries) == 0 || entries[0].Sent > from {
		previous, err := readFile(path + ".1")
		if err != nil {
			return nil, fmt.Errorf("read log: %w", err)
		}
		if len(entries) > 0 { // unless both names were the same file, rotated while we read
			for len(previous) > 0 && previous[len(previous)-1].Seq >= entries[0].Seq {
				previous = previous[:len(previous)-1]
			}
		}
		entries = append(previous, entries...)
	}
	kept := entries[:0]
	for _, e := range entries {
		if e.Sent >= from {
			kept = append(kept, e)
		}
	}
	return kept, nil
}

func readFile(path string) ([]Entry, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	} else if err != nil {
		return nil, err
	}
	var entries []Entry
	for len(data) > 0 {
		line, rest, whole := bytes.Cut(data, []byte{'\n'})
		if !whole {
			break // half written: it is whole the next time
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, fmt.Errorf("%s: entry %d: %w", path, len(entries)+1, err)
		}
		entries = append(entries, e)
		data = rest
	}
	return entries, nil
}
