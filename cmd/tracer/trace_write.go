package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"time"

	"github.com/spf13/cobra"

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

// openWrite opens the file that --write names: a new one, what is no regular file, as /dev/stdout or a named pipe, or standard
// output for "-".
func openWrite(cmd *cobra.Command, name string) (to io.Writer, closeFile func() error, err error) {
	if name == "-" {
		if out, ok := cmd.OutOrStdout().(*os.File); ok {
			if terminal, _ := terminalOf(out.Fd()); terminal {
				return nil, nil, errors.New("--write -: standard output is a terminal; name a file, or pipe it on (tshark -r -)")
			}
		}
		return cmd.OutOrStdout(), func() error { return nil }, nil
	}
	flags := os.O_WRONLY | os.O_CREATE | os.O_EXCL
	if at, err := os.Stat(name); err == nil && !at.Mode().IsRegular() {
		flags = os.O_WRONLY
	}
	const private = 0o600 // the addresses of who talks to whom
	file, err := os.OpenFile(name, flags, private)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, nil, fmt.Errorf("--write: %s is there already; remove it, or give another name", name)
	case err != nil:
		return nil, nil, fmt.Errorf("--write: %w", err)
	}
	return file, file.Close, nil
}

// writeTraces writes the headers of journeys' packets until there are no more, or enough, and tells of each before. At the end it says
// on told what was written.
func writeTraces(to io.Writer, told io.Writer, filter trace.Filter, traces iter.Seq2[trace.Trace, error], enough int, tell func()) (err error) {
	comment := "headers of packets that were lost or slow"
	if words := filter.String(); words != "" {
		comment += ": " + words
	}
	w, err := pcapng.New(to, "tracer "+version, comment)
	if err != nil {
		return err
	}
	written := 0
	defer func() {
		if w.Made() > 0 && err == nil {
			fmt.Fprintf(told, "the headers of %d of %d packets were not read; theirs are made of the record, as their comments say\n", w.Made(), written)
		}
	}()
	for t, err := range traces {
		if err != nil {
			return fmt.Errorf("read journeys: %w", err)
		}
		tell()
		if err := w.Write(&t); err != nil {
			return err
		}
		if written++; written == enough {
			return nil
		}
	}
	return nil
}
