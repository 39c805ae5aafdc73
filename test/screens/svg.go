package main

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The picture's measures, in its own units: a cell of a common monospaced font at 14.
const (
	cellWidth  = 8.4
	cellHeight = 18.0
	margin     = 12.0
	fontSize   = 14
	baseline   = 13.5 // below a cell's top
)

// The colours: a dark terminal's. The first eight are those of SGR 30 to 37.
const (
	background = "#14171f"
	foreground = "#d6dae4"
)

var palette = [...]string{"#4b5263", "#f0616d", "#8fd174", "#e9c062", "#6cb0f5", "#cf86e8", "#5cc8d0", "#d6dae4"}

// style is what SGR sequences have set.
type style struct {
	colour               int // of palette; -1 for the foreground
	bold, faint, reverse bool
}

// apply takes in the parameters of one SGR sequence.
func (s *style) apply(parameters string) {
	for code := range strings.SplitSeq(parameters, ";") {
		n, _ := strconv.Atoi(code) // "" is 0
		switch {
		case n == 0:
			*s = style{colour: -1}
		case n == 1:
			s.bold = true
		case n == 2:
			s.faint = true
		case n == 7:
			s.reverse = true
		case n == 22:
			s.bold, s.faint = false, false
		case n == 27:
			s.reverse = false
		case n >= 30 && n <= 37:
			s.colour = n - 30
		case n == 39:
			s.colour = -1
		}
	}
}

func (s *style) colours() (text, behind string) {
	text, behind = foreground, ""
	if s.colour >= 0 {
		text = palette[s.colour]
	}
	if s.reverse {
		return background, text
	}
	return text, behind
}

// span is a piece of a line in one style.
type span struct {
	style
	at   int // column
	text string
}

// spans takes a line apart. The style goes on from the line before, and is left as the line ends.
func spans(line string, now *style) (out []span) {
	at := 0
	var text strings.Builder
	flush := func() {
		if text.Len() > 0 {
			out = append(out, span{*now, at, text.String()})
			at += utf8.RuneCountInString(text.String())
			text.Reset()
		}
	}
	for line != "" {
		if rest, ok := strings.CutPrefix(line, "\x1b["); ok {
			end := strings.IndexFunc(rest, func(r rune) bool { return r >= '@' && r <= '~' })
			if end < 0 {
				break
			}
			flush()
			if rest[end] == 'm' {
				now.apply(rest[:end])
			}
			line = rest[end+1:]
			continue
		}
		r, size := utf8.DecodeRuneInString(line)
		text.WriteRune(r)
		line = line[size:]
	}
	flush()
	return out
}

// svg draws a screen with SGR sequences, so many columns wide, with a title above it.
func svg(title, screen string, columns int) string {
	lines := drawLines(screen)
	var b strings.Builder
	begin(&b, title, columns, len(lines))
	for _, line := range lines {
		b.WriteString(line)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// begin begins a picture for so many columns and lines.
func begin(b *strings.Builder, title string, columns, lines int) {
	width, height := 2*margin+float64(columns)*cellWidth, 2*margin+float64(lines+1)*cellHeight
	fmt.Fprintf(b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" width="%.0f" role="img" font-family="ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace" font-size="%d">`+"\n",
		width, height, width, fontSize)
	fmt.Fprintf(b, "<title>%s</title>\n<rect width=\"100%%\" height=\"100%%\" rx=\"8\" fill=%q/>\n", escape(title), background)
	fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\" fill=%q xml:space=\"preserve\">$ %s</text>\n", margin, margin+baseline, palette[2], escape(title))
}

// drawLines draws each line of a screen at its height.
func drawLines(screen string) (drawn []string) {
	now := style{colour: -1}
	for i, line := range strings.Split(strings.TrimRight(screen, "\n "), "\n") {
		var b strings.Builder
		for _, r := range spans(line, &now) {
			r.draw(&b, margin+float64(i+1)*cellHeight)
		}
		drawn = append(drawn, b.String())
	}
	return drawn
}

// draw draws a span whose line begins at that height. Blocks are drawn as such, for fonts leave gaps between them.
func (r *span) draw(b *strings.Builder, top float64) {
	colour, behind := r.colours()
	if behind != "" {
		fmt.Fprintf(b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=%q/>\n",
			margin+float64(r.at)*cellWidth, top, float64(utf8.RuneCountInString(r.text))*cellWidth, cellHeight, behind)
	}
	opacity := ""
	if r.faint {
		opacity = ` fill-opacity="0.6"`
	}
	weight := ""
	if r.bold {
		weight = ` font-weight="bold"`
	}
	at := r.at
	for text := r.text; text != ""; {
		n := 0 // of bytes that are drawn alike
		eighths := 0
		for n < len(text) {
			c, size := utf8.DecodeRuneInString(text[n:])
			full := 0
			if c >= '▁' && c <= '█' {
				full = int(c-'▁') + 1
			}
			if n > 0 && full != eighths {
				break
			}
			eighths = full
			n += size
		}
		cells := utf8.RuneCountInString(text[:n])
		x, w := margin+float64(at)*cellWidth, float64(cells)*cellWidth
		switch {
		case eighths > 0:
			h := (cellHeight - 5) * float64(eighths) / 8
			fmt.Fprintf(b, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=%q/>\n", x, top+cellHeight-2.5-h, w, h, colour)
		case strings.TrimSpace(text[:n]) != "":
			fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%.1f\" fill=%q%s%s textLength=\"%.1f\" xml:space=\"preserve\">%s</text>\n",
				x, top+baseline, colour, opacity, weight, w, escape(text[:n]))
		}
		at += cells
		text = text[n:]
	}
}

func escape(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(s)
}
