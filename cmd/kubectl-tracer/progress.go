package main

import (
	"fmt"
	"io"
	"os"

	"golang.org/x/term"

	"tracer/internal/agents"
)

// progress says on a terminal how many agents have answered, where that takes long enough to wonder.
type progress struct {
	w         io.Writer // nil for nobody
	came, all int
}

// newProgress counts answers of so many agents. Those that are asked all at once need no line.
func newProgress(w io.Writer, all int) *progress {
	p := &progress{all: all}
	if file, ok := w.(*os.File); ok && all > agents.MaxAtOnce && term.IsTerminal(int(file.Fd())) {
		p.w = w
	}
	return p
}

// answered is called with each answer, one call at a time.
func (p *progress) answered() {
	p.came++
	if p.w != nil {
		fmt.Fprintf(p.w, "\r%d of %d agents asked; Ctrl-C shows what has come", p.came, p.all)
	}
}

// end takes the line away.
func (p *progress) end() {
	if p.w != nil {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}
