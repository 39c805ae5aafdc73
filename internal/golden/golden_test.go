package golden

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// recorder keeps what a check reports instead of failing the test.
type recorder struct {
	testing.TB
	errors []string
}

func (r *recorder) Helper() {}

func (r *recorder) Error(args ...any) { r.errors = append(r.errors, fmt.Sprint(args...)) }

func (r *recorder) Errorf(format string, args ...any) {
	r.errors = append(r.errors, fmt.Sprintf(format, args...))
}

func TestCheck(t *testing.T) {
	path := filepath.Join(t.TempDir(), "report.txt")
	run := func(got string, update bool) []string {
		r := &recorder{TB: t}
		check(r, path, []byte(got), update)
		return r.errors
	}
	if errs := run("one\n", false); len(errs) != 1 || !strings.Contains(errs[0], "-update writes it") {
		t.Errorf("without a file: %q", errs)
	}
	if errs := run("one\n", true); len(errs) != 0 {
		t.Errorf("update: %q", errs)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "one\n" {
		t.Errorf("the file holds %q: %v", data, err)
	}
	if errs := run("one\n", false); len(errs) != 0 {
		t.Errorf("the same: %q", errs)
	}
	if errs := run("two\n", false); len(errs) != 1 || !strings.Contains(errs[0], `"one`) || !strings.Contains(errs[0], `"two`) {
		t.Errorf("another: %q, which shows not both", errs)
	}
}
