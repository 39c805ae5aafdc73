package cni

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

var update = flag.Bool("update", false, "write what is measured into docs/layouts.md")

const page = "../../docs/layouts.md"

// record writes a layout's row of the page's table, or checks that there is one. The plugin's version is that of module, which
// the go.mod in that folder requires.
func (l *layout) record(t *testing.T, name, folder, module string) {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	begin := "| " + name + " | "
	lines := strings.Split(string(data), "\n")
	found := false
	for i, line := range lines {
		if strings.HasPrefix(line, begin) {
			found = true
			lines[i] = begin + fmt.Sprintf("%s | %s | %.1f %% | %.1f %% | %s | %s | %d of %d | `%s` |", version(t, folder, module), kernel(t), l.least["out"]*100, l.least["in"]*100,
				strings.Join(l.stories, ", "), l.apart, l.lost, l.sent, t.Name())
		}
	}
	if !found {
		t.Fatalf("%s has no row for %q", page, name)
	}
	if *update && !t.Failed() {
		if err := os.WriteFile(page, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// version is that of a module which the go.mod in a folder requires.
func version(t *testing.T, folder, module string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("cni", folder, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(data)) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == module {
			return words[1]
		}
	}
	t.Fatalf("go.mod does not require %s", module)
	return ""
}

// kernel is the version of this machine's.
func kernel(t *testing.T) string {
	t.Helper()
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		t.Fatal(err)
	}
	release, _, _ := strings.Cut(unix.ByteSliceToString(u.Release[:]), "-")
	return release
}
