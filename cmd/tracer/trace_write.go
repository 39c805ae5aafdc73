package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"tracer/internal/format"
	"tracer/internal/pcapng"
	"tracer/internal/trace"
)

// slowByDefault is from which time on a packet is slow, for --write without --slower-than and --stage.
const slowByDefault = 10 * time.Millisecond

// writeFilter is the filter for packets that are written: it takes lost packets whatever their time.
func writeFilter(filter trace.Filter, slowerThan bool) trace.Filter {
	filter.Headers, filter.OrLost = true, !filter.DropsOnly
	if !slowerThan && !filter.DropsOnly && filter.Stage == (trace.StageFilter{}) {
		filter.SlowerThan = slowByDefault
	}
	return filter
}

// writeGrace is for how long after its end a command waits for who reads a pipe to take what is being written.
const writeGrace = time.Second

// headerFile is where --write writes to.
type headerFile struct {
	to      io.Writer
	file    *os.File // nil for standard output
	made    bool     // the file was not there before
	packets int      // that were written
}

// openWrite opens the file that --write names: a new one, a named pipe that somebody reads, a character device as a terminal, or standard
// output for "-". What is written to a pipe ends with ctx, also where nobody reads on.
func openWrite(ctx context.Context, cmd *cobra.Command, name string) (*headerFile, error) {
	if name == "-" {
		if out, ok := cmd.OutOrStdout().(*os.File); ok {
			if terminal, _ := terminalOf(out.Fd()); terminal {
				return nil, errors.New("--write -: standard output is a terminal; name a file, or pipe it on (tshark -r -)")
			}
		}
		return &headerFile{to: cmd.OutOrStdout()}, nil
	}
	h := &headerFile{}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if at, err := os.Stat(name); err == nil && !at.Mode().IsRegular() {
		if at.Mode()&(fs.ModeNamedPipe|fs.ModeCharDevice) == 0 {
			return nil, fmt.Errorf("--write: %s is neither a new file nor a pipe nor a character device; give another name", name)
		}
		flags = os.O_WRONLY | unix.O_NONBLOCK | unix.O_NOCTTY // else it waits for a reader, whatever happens
	} else {
		h.made = true
	}
	const private = 0o600 // the addresses of who talks to whom
	file, err := os.OpenFile(name, flags, private)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("--write: %s is there already; remove it, or give another name", name)
	case errors.Is(err, unix.ENXIO):
		return nil, fmt.Errorf("--write: nobody reads from %s; start that first", name)
	case err != nil:
		return nil, fmt.Errorf("--write: %w", err)
	}
	context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Now().Add(writeGrace)) }) // a regular file has none
	h.to, h.file = file, file
	return h, nil
}

// close closes the file. One that was made for a command that failed before it had a packet is removed: it would be in the way of the next.
func (h *headerFile) close(failed error) error {
	if h.file == nil {
		return nil
	}
	err := h.file.Close()
	if h.made && h.packets == 0 && failed != nil {
		err = errors.Join(err, os.Remove(h.file.Name()))
	}
	if err != nil {
		return fmt.Errorf("--write: %w", err)
	}
	return nil
}

// writeTraces writes the headers of journeys' packets until there are no more, or enough, and tells of each before. At the end it says
// on told what was written and what is missing.
func (h *headerFile) writeTraces(told io.Writer, filter trace.Filter, traces iter.Seq2[trace.Trace, error], enough int, tell func()) (err error) {
	comment := "headers of packets that were lost or slow"
	if words := filter.String(); words != "" {
		comment += ": " + words
	}
	w, err := pcapng.New(h.to, "tracer "+version, comment)
	if err != nil {
		return err
	}
	missed := uint64(0)
	defer func() {
		if w.Made() > 0 && err == nil {
			fmt.Fprintf(told, "the headers of %d of %d packets were not read; theirs are made of the record, as their comments say\n", w.Made(), h.packets)
		}
		if missed > 0 {
			fmt.Fprintf(told, "%s that matched were missed: they came faster than they are written; choose fewer packets\n", format.Counted(fmt.Sprint(missed), "journey"))
		}
	}()
	for t, err := range traces {
		if err != nil {
			return fmt.Errorf("read journeys: %w", err)
		}
		missed += t.Missed
		tell()
		if err := w.Write(&t); err != nil {
			return err
		}
		if h.packets++; h.packets == enough {
			return nil
		}
	}
	return nil
}
