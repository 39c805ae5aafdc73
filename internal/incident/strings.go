package incident

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"unicode"
)

// rewrite gives each string of a JSON text, with the key that it stands under, to f and puts what that returns in its place. Of a list
// the key is that of the list; the keys of objects are given with the key "".
func rewrite(text []byte, f func(key, value string) string) ([]byte, error) {
	in := json.NewDecoder(bytes.NewReader(text))
	in.UseNumber() // counts have up to 64 bits
	var v any
	if err := in.Decode(&v); err != nil {
		return nil, fmt.Errorf("rewrite strings: %w", err)
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(rewriteValue("", v, f)); err != nil {
		return nil, fmt.Errorf("rewrite strings: %w", err)
	}
	return out.Bytes(), nil
}

func rewriteValue(key string, v any, f func(key, value string) string) any {
	switch v := v.(type) {
	case string:
		return f(key, v)
	case []any:
		for i := range v {
			v[i] = rewriteValue(key, v[i], f)
		}
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			out[f("", k)] = rewriteValue(k, x, f)
		}
		return out
	}
	return v
}

// unprintable finds what printable may have to replace.
var unprintable = regexp.MustCompile(`\\[bfnrt]|\\u|\x7f|\xc2[\x80-\x9f]|\xe2\x80|\xe2\x81`)

// printable is a line without what could command a terminal or reorder its text: a file may come from elsewhere.
func printable(text []byte) []byte {
	if !unprintable.Match(text) {
		return text
	}
	clean, err := rewrite(text, func(_, s string) string {
		return strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return unicode.ReplacementChar
		}, s)
	})
	if err != nil {
		return text // which nobody can read
	}
	return clean
}
