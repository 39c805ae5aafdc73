package record

import (
	"strings"
	"unicode"
)

// Printable is a name without what could command a terminal or reorder its text: whoever may create a pod may give its owner, or a chain
// of netfilter's in it, any name.
func Printable(name string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, name)
}
