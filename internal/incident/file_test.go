package incident

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf16"

	"tracer/internal/diagnose"
	"tracer/internal/overview"
)

// TestDamage cuts a file short at every place, and puts garbage into it: what is whole is read.
func TestDamage(t *testing.T) {
	t.Parallel()
	text := encoded(t, incidentOf(busy(2, 2, 4)))
	lines := bytes.SplitAfter(text, []byte("\n"))
	header, total := len(lines[0]), len(lines)-1
	for cut := 0; cut < len(text); cut += 1 + len(text)/400 {
		i, err := Read(bytes.NewReader(text[:cut]))
		if cut < header-1 {
			if err == nil {
				t.Fatalf("cut at %d, in the header: read", cut)
			}
			continue
		}
		if err != nil {
			t.Fatalf("cut at %d: %v", cut, err)
		}
		if whole := bytes.Count(text[:cut], []byte("\n")); whole > 0 && len(i.Frames)+len(i.Changes) != whole-1 || i.Damaged > 1 {
			t.Fatalf("cut at %d: %d frames and %d changes of %d lines, %d damaged", cut, len(i.Frames), len(i.Changes), whole, i.Damaged)
		}
	}
	damaged := bytes.Join([][]byte{lines[0], []byte("{\"frame\":{\"cou\n\x00\xff\n"), bytes.Join(lines[1:], nil)}, nil)
	if i, err := Read(bytes.NewReader(damaged)); err != nil || i.Damaged != 2 || len(i.Frames)+len(i.Changes) != total-1 {
		t.Errorf("garbage: %v, %+v", err, i)
	}
	long := slices.Concat(lines[0], bytes.Repeat([]byte("x"), maxLine+1), []byte("\n"), lines[1])
	if i, err := Read(bytes.NewReader(long)); err != nil || i.Damaged != 1 || len(i.Frames)+len(i.Changes) != 1 {
		t.Errorf("a line that is too long: %v", err)
	}
	var version *VersionError
	if _, err := Read(strings.NewReader(`{"header":{"version":2,"id":7}}` + "\n")); !errors.As(err, &version) || version.Version != 2 {
		t.Errorf("another version: %v", err)
	}
	for _, other := range []string{"", "\n", "[]", `{"frame":{}}`, "\x7fELF"} {
		if _, err := Read(strings.NewReader(other)); err == nil {
			t.Errorf("%q was read", other)
		}
	}
}

// TestHostileFile: a file from elsewhere commands no terminal.
func TestHostileFile(t *testing.T) {
	t.Parallel()
	i := incidentOf(busy(2, 0, 3))
	i.Frames[1].Report.Summary = "\x1b]0;owned\x07\u202eevil\nFAULT: false"
	i.Node = "no\x9bde"
	back, err := Read(bytes.NewReader(encoded(t, i)))
	if err != nil {
		t.Fatal(err)
	}
	if got := back.Frames[1].Report.Summary + back.Node; strings.ContainsAny(got, "\x1b\x07\u202e\n") || !strings.Contains(got, "owned") {
		t.Errorf("%q", got)
	}
	if back.Netns != i.Netns || back.Frames[1].Counts.Records != i.Frames[1].Counts.Records {
		t.Error("numbers have changed")
	}
}

// TestUnprintable: each character that commands a terminal or reorders text is found where it is the only one of its line, as it is and
// escaped, also in a key.
func TestUnprintable(t *testing.T) {
	t.Parallel()
	for _, r := range "\u007f\u0080\u009b\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028\u2029\u202a\u202e\u2060\u2066\u2069\ufeff\ufff9\U000e0001\U000e0041" {
		escape := fmt.Sprintf(`\u%04x`, r)
		if high, low := utf16.EncodeRune(r); high != unicode.ReplacementChar {
			escape = fmt.Sprintf(`\u%04x\u%04x`, high, low)
		}
		for _, written := range []string{string(r), escape} {
			i, err := Read(strings.NewReader(`{"header":{"version":1,"node":"a` + written + `b"}}` + "\n" +
				`{"frame":{"counts":{},"rises":{"a` + written + `b":1}}}` + "\n"))
			if err != nil {
				t.Fatal(err)
			}
			if i.Node != "a\ufffdb" || len(i.Frames) != 1 || i.Frames[0].Rises["a\ufffdb"] != 1 {
				t.Errorf("%U written as %q: %q, %v", r, written, i.Node, i.Frames)
			}
		}
	}
	for _, control := range []string{`\u001b`, `\b`, `\f`, `\n`, `\r`, `\t`, `\u0000`} {
		if i, err := Read(strings.NewReader(`{"header":{"version":1,"node":"a` + control + `b"}}`)); err != nil || i.Node != "a\ufffdb" {
			t.Errorf("%s: %v, %q", control, err, i.Node)
		}
	}
	if text := []byte(`{"header":{"node":"größe \\n \" → 数据"}}` + "\n"); mayCommand(text) {
		t.Error("a harmless line is rewritten")
	}
}

// FuzzRead reads files that were damaged: an incident that can be shown and written again, or an error.
func FuzzRead(f *testing.F) {
	f.Add(encoded(f, incidentOf(busy(1, 1, 3))))
	f.Add([]byte(`{"header":{"version":1}}` + "\n" + `{"frame":{"counts":{}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		i, err := Read(bytes.NewReader(data))
		if err != nil {
			return
		}
		if _, err := i.Redacted(); err != nil {
			t.Error(err)
		}
		if r, err := NewReplay(i, began); err == nil {
			r.overview(overview.Query{By: overview.ByPair})
		}
		i.Principal()
		i.Ended()
	})
}

// TestJSONOfSnapshots: a frame's JSON has what the socket's snapshot has.
func TestJSONOfSnapshots(t *testing.T) {
	t.Parallel()
	s := busy(3, 1, 2)
	frame := NewFrame(&s[0], &s[1], nil, &diagnose.Report{}, nil, nil)
	text, err := json.Marshal(frame)
	if err != nil {
		t.Fatal(err)
	}
	var back Frame
	if err := json.Unmarshal(text, &back); err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(back)
	if err != nil || string(again) != string(text) {
		t.Errorf("%v\n%s\n%s", err, text, again)
	}
}
