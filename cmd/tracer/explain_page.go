package main

import (
	"regexp"
	"strings"
)

// SGR sequences of a page's headings and code.
const (
	pageBold  = "\x1b[1m"
	pageCode  = "\x1b[36m"
	pageReset = "\x1b[0m"
)

var (
	// pageLink is a link of Markdown, of which a terminal shows the text.
	pageLink = regexp.MustCompile(`\[([^\]]+)\]\([^)\s]+\)`)
	codeSpan = regexp.MustCompile("`([^`]+)`")
)

// plainPage is a Markdown page for a terminal: links as their text, code between fences set in, headings and code in colour.
func plainPage(page string, color bool) string {
	paint := func(code, text string) string {
		if !color {
			return text
		}
		return code + text + pageReset
	}
	var b strings.Builder
	for i, part := range strings.Split(page, "```\n") { // every second one is code
		code := i%2 == 1
		if !code {
			part = pageLink.ReplaceAllString(part, "$1") // its text may go on in the next line
		}
		for line := range strings.Lines(part) {
			line = strings.TrimSuffix(line, "\n")
			switch {
			case code && strings.HasPrefix(line, "$ "):
				line = paint(pageBold, "    "+line)
			case code:
				line = "    " + line
			case strings.HasPrefix(line, "#"):
				line = paint(pageBold, strings.TrimLeft(line, "# "))
			case color:
				line = codeSpan.ReplaceAllString(line, pageCode+"$1"+pageReset)
			}
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}
