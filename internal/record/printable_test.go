package record

import (
	"strings"
	"testing"
	"unicode/utf8"
)

// TestPrintable takes names that would clear the screen, set its title, and turn text around.
func TestPrintable(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"web": "web", "the big one": "the big one", "größe-数据": "größe-数据", "": "",
		"web\x1b[2J":         "web\ufffd[2J",
		"\x1b]0;title\a":     "\ufffd]0;title\ufffd",
		"two\r\nlines\tmore": "two\ufffd\ufffdlines\ufffdmore",
		"c1\u009b31m":        "c1\ufffd31m",
		"\u202eturned":       "\ufffdturned",
		"no UTF-8 \xff":      "no UTF-8 \ufffd",
	} {
		if got := Printable(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}

// TestLongName: ten thousand bytes are cut off between two characters.
func TestLongName(t *testing.T) {
	t.Parallel()
	for _, name := range []string{strings.Repeat("x", 10_000), strings.Repeat("ä", 5_000), strings.Repeat("\x1b", 10_000), strings.Repeat("\xff", 10_000)} {
		got := Printable(name)
		if !utf8.ValidString(got) || len(got) > maxName || !strings.HasSuffix(got, "…") || Printable(got) != got {
			t.Errorf("%.10q … becomes %q, of %d bytes", name, got, len(got))
		}
	}
	if name := strings.Repeat("x", maxName); Printable(name) != name {
		t.Error("a name of the greatest length is cut off")
	}
}
