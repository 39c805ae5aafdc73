package main

import (
	"encoding/xml"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSpans(t *testing.T) {
	t.Parallel()
	plain := style{colour: -1}
	now := plain
	got := spans("a\x1b[1;31mFAULT\x1b[0m →\x1b[7mx\x1b[27;33m██\x1b[39m\x1b[K\x1b[35my", &now)
	red, reversed, yellow := style{colour: 1, bold: true}, style{colour: -1, reverse: true}, style{colour: 3}
	want := []span{{plain, 0, "a"}, {red, 1, "FAULT"}, {plain, 6, " →"}, {reversed, 8, "x"}, {yellow, 9, "██"}, {style{colour: 5}, 11, "y"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, want %+v", got, want)
	}
	if next := spans("z", &now); next[0].colour != 5 {
		t.Errorf("the next line begins with %+v", next)
	}
}

// TestSVG draws XML that a browser reads, with blocks as such and text escaped.
func TestSVG(t *testing.T) {
	t.Parallel()
	got := svg("tracer top", "p99 <1ms & more\n\x1b[33m██▄\x1b[0m\x1b[7m x \x1b[0m\n\n", 20)
	decoder := xml.NewDecoder(strings.NewReader(got))
	count := map[string]int{}
	var text []string
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, got)
		}
		switch token := token.(type) {
		case xml.StartElement:
			count[token.Name.Local]++
		case xml.CharData:
			if s := strings.TrimSpace(string(token)); s != "" {
				text = append(text, s)
			}
		}
	}
	if count["rect"] != 4 || count["text"] != 3 { // the ground, two kinds of blocks, one reversed; title and two texts
		t.Errorf("%v in\n%s", count, got)
	}
	if want := []string{"tracer top", "$ tracer top", "p99 <1ms & more", "x"}; !reflect.DeepEqual(text, want) {
		t.Errorf("text %q", text)
	}
}

// TestMovie: each line is drawn once for as long as it stays, and a picture that does not move is the last frame.
func TestMovie(t *testing.T) {
	t.Parallel()
	got := movie("tracer top", []frame{
		{0, "node1\nHEALTHY\nrow 1"}, {2 * time.Second, "node1\nHEALTHY\nrow 2"}, {4 * time.Second, "node1\nFAULT\nrow 2\nwhy"},
	}, 20)
	if err := xml.Unmarshal([]byte(got), new(struct{})); err != nil {
		t.Fatalf("%v in\n%s", err, got)
	}
	for _, text := range []string{"node1", "HEALTHY", "FAULT", "row 1", "row 2", "why"} {
		if n := strings.Count(got, ">"+text+"<"); n != 1 {
			t.Errorf("%q is drawn %d times in\n%s", text, n, got)
		}
	}
	for _, want := range []string{
		"animation-duration:6.0s", // 4 s at twice the speed, and 4 s that the last frame stays
		"@keyframes f0-2{0.00%{visibility:visible}33.33%{visibility:hidden}}",
		"@keyframes f1-3{0%{visibility:hidden}16.67%{visibility:visible}}",
		"<g class=\"m f0-2\" visibility=\"hidden\">\n<text", "<g class=\"m f2-3\">\n<text",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
}
