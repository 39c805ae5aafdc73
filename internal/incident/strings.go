package incident

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"unicode"

	"tracer/internal/record"
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

// printable is a line without what could command a terminal or reorder its text: a file may come from elsewhere.
func printable(text []byte) []byte {
	if !mayCommand(text) {
		return text
	}
	clean, err := rewrite(text, func(_, s string) string { return record.Visible(s) })
	if err != nil {
		return text // which nobody can read
	}
	return clean
}

// mayCommand tells whether a line may have such characters in it, as they are or escaped.
func mayCommand(text []byte) bool {
	escaped := false
	return bytes.ContainsFunc(bytes.TrimRight(text, "\n"), func(r rune) bool {
		if escaped {
			escaped = false
			return strings.ContainsRune("bfnrtu", r)
		}
		escaped = r == '\\'
		return !unicode.IsPrint(r)
	})
}
