package main

import (
	"encoding/json"
	"io"
)

// writeJSON writes v as a line of JSON, in which nothing is escaped for HTML.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// answer is what is said of packets between two ends.
type answer interface {
	WriteText(w io.Writer) error
	ExitCode() int
}

// write prints an answer as text or json, and returns its exit code, if it is not 0, as the error.
func write(w io.Writer, output string, a answer) error {
	var err error
	if output == "json" {
		err = writeJSON(w, a)
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
