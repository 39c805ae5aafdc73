package record

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxName is how long a name may be, in bytes: Kubernetes' own limit for most (a DNS name), of a size that a table of metrics with
// thousands of them can bear.
const maxName = 253

// Visible is a text without what could command a terminal or reorder its text.
func Visible(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// Printable is a name as Visible has it, and cut off where it is very long: whoever may create a pod may give its owner, or a chain of
// netfilter's or a device in it, any name.
func Printable(name string) string {
	const more = "…"
	name = Visible(name)
	if len(name) <= maxName {
		return name
	}
	end := maxName - len(more)
	for !utf8.RuneStart(name[end]) {
		end--
	}
	return name[:end] + more
}
