package main

import (
	"io"

	"tracer/internal/console"
)

// answer is what is said of packets between two ends.
type answer interface {
	WriteText(w io.Writer) error
	ExitCode() int
}

// write prints an answer as text or json, and returns its exit code, if it is not 0, as the error.
func write(w io.Writer, output string, a answer) error {
	var err error
	if output == "json" {
		err = console.WriteJSON(w, a)
	} else {
		err = a.WriteText(w)
	}
	if err != nil {
		return err
	}
	if code := a.ExitCode(); code != 0 {
		return exitCode(code)
	}
	return nil
}
