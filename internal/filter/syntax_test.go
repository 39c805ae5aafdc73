package filter

import (
	"errors"
	"testing"
	"time"
)

func TestParseDuration(t *testing.T) {
	t.Parallel()
	const text = "queue@tunl0> 10ms rest"
	if d, err := ParseDuration(text, 12, 17); err != nil || d != 10*time.Millisecond {
		t.Errorf("%v, %v", d, err)
	}
	for _, wrong := range []string{"", "10", "-1s", "soon"} {
		_, err := ParseDuration("p99>"+wrong, 4, 4+len(wrong))
		if syntax, ok := errors.AsType[*SyntaxError](err); !ok || syntax.At != 4 {
			t.Errorf("%q: %v", wrong, err)
		}
	}
}

// TestError points at the place also behind letters of several bytes.
func TestError(t *testing.T) {
	t.Parallel()
	err := &SyntaxError{Text: "ü p99>x", At: 7, Problem: "no time"}
	if want := "no time\n  ü p99>x\n        ^"; err.Error() != want {
		t.Errorf("\n%s\nwant\n%s", err, want)
	}
}
