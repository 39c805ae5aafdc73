package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// frame is a screen with SGR sequences, from a moment of a run on.
type frame struct {
	at     time.Duration
	screen string
}

// speed is how many times as fast as it was a run is shown, and still is how long its last screen stays.
const (
	speed = 2
	still = 4 * time.Second
)

// shownLine is what one line of the screen shows from one frame up to another.
type shownLine struct {
	row, from, to int
	drawing       string
}

// movie draws a run as one SVG that moves by CSS alone, so that it does where pictures run no scripts. What does not move it, or is
// told to move nothing, shows the last frame.
func movie(title string, frames []frame, columns int) string {
	lines, rows := shownLines(frames)
	var b strings.Builder
	begin(&b, title, columns, rows)
	length := (frames[len(frames)-1].at-frames[0].at)/speed + still
	percent := func(i int) float64 {
		return 100 * float64((frames[i].at-frames[0].at)/speed) / float64(length)
	}
	fmt.Fprintf(&b, "<style>\n.m{animation-duration:%.1fs;animation-timing-function:step-end;animation-iteration-count:infinite}\n", length.Seconds())
	var named []string
	for _, l := range lines {
		if l.always(frames) || slices.Contains(named, l.name()) {
			continue
		}
		named = append(named, l.name())
		fmt.Fprintf(&b, "@keyframes %s{", l.name())
		if l.from > 0 {
			b.WriteString("0%{visibility:hidden}")
		}
		fmt.Fprintf(&b, "%.2f%%{visibility:visible}", percent(l.from))
		if l.to < len(frames) {
			fmt.Fprintf(&b, "%.2f%%{visibility:hidden}", percent(l.to))
		}
		fmt.Fprintf(&b, "}\n.%s{animation-name:%s}\n", l.name(), l.name())
	}
	b.WriteString("@media (prefers-reduced-motion:reduce){.m{animation:none}}\n</style>\n")
	for _, l := range lines {
		switch {
		case l.always(frames):
			b.WriteString(l.drawing)
			continue
		case l.to < len(frames):
			fmt.Fprintf(&b, "<g class=\"m %s\" visibility=\"hidden\">\n", l.name())
		default:
			fmt.Fprintf(&b, "<g class=\"m %s\">\n", l.name())
		}
		b.WriteString(l.drawing + "</g>\n")
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (l shownLine) always(frames []frame) bool { return l.from == 0 && l.to == len(frames) }

// name is that of its animation, which all have that are shown in the same frames.
func (l shownLine) name() string { return fmt.Sprintf("f%d-%d", l.from, l.to) }

// shownLines are all lines that are shown at some time, each once for as long as it stays, and how many there are at most.
func shownLines(frames []frame) (all []shownLine, rows int) {
	var drawn [][]string // by frame and row
	for _, f := range frames {
		d := drawLines(f.screen)
		drawn = append(drawn, d)
		rows = max(rows, len(d))
	}
	for row := range rows {
		now := shownLine{row: row}
		for i := range frames {
			drawing := ""
			if row < len(drawn[i]) {
				drawing = drawn[i][row]
			}
			if i > 0 && drawing == now.drawing {
				continue
			}
			if now.drawing != "" {
				now.to = i
				all = append(all, now)
			}
			now.from, now.drawing = i, drawing
		}
		if now.drawing != "" {
			now.to = len(frames)
			all = append(all, now)
		}
	}
	return all, rows
}
