// Package console is what commands that print have in common: choices of a flag, JSON, and the terminal.
package console

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"golang.org/x/term"
)

// OneOf checks a flag that takes one of some words.
func OneOf(flag, value string, choices ...string) error {
	if slices.Contains(choices, value) {
		return nil
	}
	return fmt.Errorf("--%s %q: choose %s", flag, value, strings.Join(choices, " or "))
}

// WriteJSON writes an object on one line.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// Colorful tells whether colour is wanted on f: a terminal, and no NO_COLOR (see no-color.org).
func Colorful(f *os.File) bool {
	return os.Getenv("NO_COLOR") == "" && term.IsTerminal(int(f.Fd()))
}

// TerminalWidth is that of standard output, or enough for all columns.
func TerminalWidth() int {
	if width, _, err := term.GetSize(int(os.Stdout.Fd())); err == nil && width > 0 {
		return width
	}
	return 160
}
