package failurelog

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestOperation(t *testing.T) {
	t.Parallel()
	var log strings.Builder
	withoutTime := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	o := New(slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{ReplaceAttr: withoutTime})), slog.LevelError, "cannot read the map")
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	o.now = func() time.Time { return now }
	wants := func(lines ...string) {
		t.Helper()
		want := ""
		for _, l := range lines {
			want += l + "\n"
		}
		if got := log.String(); got != want {
			t.Errorf("logged\n%swant\n%s", got, want)
		}
		log.Reset()
	}
	o.Done(nil)
	wants()
	full, gone := errors.New("full"), errors.New("gone")
	for range 50 {
		o.Done(full)
		o.Done(gone)
		now = now.Add(100 * time.Millisecond)
	}
	wants(`level=ERROR msg="cannot read the map" err=full`, `level=ERROR msg="cannot read the map" err=gone`)
	o.Done(nil)
	o.Done(nil)
	wants(`level=INFO msg="works again" after="cannot read the map" failures=100 for=5s`)
	o.Done(full)
	wants(`level=ERROR msg="cannot read the map" err=full`)
	for i := range 100 {
		o.Done(fmt.Errorf("attempt %d", i))
	}
	if n := strings.Count(log.String(), "\n"); n != maxTexts-1 {
		t.Errorf("%d lines of 100 errors that differ", n)
	}
}
