package incident

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// maxLine bounds what a reader takes for one line, in bytes.
const maxLine = 8 << 20

// line is one line of a file: one of its fields is set.
type line struct {
	Header *Header `json:"header,omitempty"`
	Frame  *Frame  `json:"frame,omitempty"`
	Change *Change `json:"change,omitempty"`
}

// VersionError tells that a file is of a format that this program does not read.
type VersionError struct{ Version int }

func (e *VersionError) Error() string {
	return fmt.Sprintf("format version %d, this program reads %d: read it with the version of tracer that wrote it", e.Version, Version)
}

// Read reads an incident. Lines that are damaged are left out and counted; without a header there is nothing to read. An error is a
// *VersionError where the file is of another version.
func Read(r io.Reader) (*Incident, error) {
	in := bufio.NewReaderSize(r, 64<<10)
	first, err := readLine(in)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read incident: %w", err)
	}
	header, err := readHeader(printable(first))
	if err != nil {
		return nil, fmt.Errorf("read incident: %w", err)
	}
	i := &Incident{Header: *header}
	for {
		text, err := readLine(in)
		if errors.Is(err, io.EOF) && len(text) == 0 {
			return i, nil
		}
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, errLong) {
			return nil, fmt.Errorf("read incident: %w", err)
		}
		var l line
		if err != nil || json.Unmarshal(printable(text), &l) != nil { // a line without its end may lack a digit
			i.Damaged++
			continue
		}
		switch {
		case l.Frame != nil && l.Frame.Counts != nil:
			i.Frames = append(i.Frames, *l.Frame)
		case l.Change != nil:
			i.Changes = append(i.Changes, *l.Change)
		}
	}
}

// readHeader reads the first line.
func readHeader(text []byte) (*Header, error) {
	var l struct {
		Header *struct {
			Version int `json:"version"`
		} `json:"header"`
	}
	if err := json.Unmarshal(text, &l); err != nil || l.Header == nil {
		return nil, errors.New("this is no incident, or its beginning is damaged")
	}
	if l.Header.Version != Version {
		return nil, &VersionError{l.Header.Version}
	}
	var whole line
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, fmt.Errorf("the header is damaged: %w", err)
	}
	return whole.Header, nil
}

var errLong = errors.New("a line is too long")

// readLine reads up to the next line break. The last line has none and comes with io.EOF; of one that is too long the rest is
// skipped.
func readLine(in *bufio.Reader) ([]byte, error) {
	var text []byte
	long := false
	for {
		part, err := in.ReadSlice('\n')
		if long = long || len(text)+len(part) > maxLine; !long {
			text = append(text, part...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case long && (err == nil || errors.Is(err, io.EOF)):
			return []byte("\n"), errLong
		}
		return text, err
	}
}

// ReadFile reads an incident's file.
func ReadFile(path string) (*Incident, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read incident: %w", err)
	}
	defer file.Close()
	i, err := Read(file)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return i, nil
}

// Write writes an incident as its file has it.
func (i *Incident) Write(w io.Writer) error {
	header, err := json.Marshal(line{Header: &i.Header})
	if err != nil {
		return fmt.Errorf("write incident: %w", err)
	}
	rest, err := i.encodeLines()
	if err != nil {
		return fmt.Errorf("write incident: %w", err)
	}
	for _, part := range [][]byte{header, []byte("\n"), rest} {
		if _, err := w.Write(part); err != nil {
			return fmt.Errorf("write incident: %w", err)
		}
	}
	return nil
}

// encodeLines is what follows the header, in order of time.
func (i *Incident) encodeLines() ([]byte, error) {
	var text bytes.Buffer
	out := json.NewEncoder(&text)
	frame, change := 0, 0
	for frame < len(i.Frames) || change < len(i.Changes) {
		var l line
		if change == len(i.Changes) || frame < len(i.Frames) && !i.Frames[frame].Taken.After(i.Changes[change].Time) {
			l.Frame = &i.Frames[frame]
			frame++
		} else {
			l.Change = &i.Changes[change]
			change++
		}
		if err := out.Encode(l); err != nil {
			return nil, err
		}
	}
	return text.Bytes(), nil
}
