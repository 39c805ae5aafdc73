package diagnose

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestWrap(t *testing.T) {
	t.Parallel()
	want := []string{"one two", "threefour", "five"}
	if got := wrap("one two threefour five", 7); !slices.Equal(got, want) {
		t.Errorf("wrap: %q", got)
	}
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("pipe closed") }

func TestWriteTextFails(t *testing.T) {
	t.Parallel()
	r := Diagnose("", Snapshot{}, Snapshot{})
	if err := r.WriteText(broken{}, false); err == nil || !strings.Contains(err.Error(), "write report: pipe closed") {
		t.Errorf("got %v", err)
	}
}
