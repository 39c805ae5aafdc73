package record

import "testing"

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
