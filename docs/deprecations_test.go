package docs

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// until is how the changelog says from when on something deprecated may be gone.
var until = regexp.MustCompile(`may be gone from v?(\d+\.\d+\.\d+) on, not before (\d{4}-\d{2}-\d{2})`)

// TestDeprecations: whatever the changelog deprecates, it says from which version and day on it may be gone, as docs/upgrading.md promises.
func TestDeprecations(t *testing.T) {
	t.Parallel()
	changelog, err := os.ReadFile("../CHANGELOG.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, err := range deprecations(string(changelog)) {
		t.Error(err)
	}
	const wrong = "## [0.2.0] - 2027-01-10\n### Deprecated\n- `--a`: use `--b`.\n- `--c`, which\n  may be gone from v0.4.0 on, not before 2027-07-10.\n" +
		"- `--d` may be gone from v0.3.0 on, not before 2027-02-01.\n### Fixed\n- e\n"
	if got := deprecations(wrong); len(got) != 2 {
		t.Errorf("of two wrong ones it finds %v", got)
	}
}

// deprecations are what is wrong with those of a changelog.
func deprecations(changelog string) (wrong []error) {
	released, within := time.Time{}, false
	var items []string
	check := func() {
		for _, item := range items {
			m := until.FindStringSubmatch(item)
			if m == nil {
				wrong = append(wrong, fmt.Errorf("deprecated without a version and a day: %s", item))
				continue
			}
			day, err := time.Parse(time.DateOnly, m[2])
			if err != nil || day.Before(released.AddDate(0, 6, 0)) {
				wrong = append(wrong, fmt.Errorf("deprecated for less than six months: %s", item))
			}
		}
		items = nil
	}
	for line := range strings.Lines(changelog) {
		line = strings.TrimRight(line, "\n")
		switch {
		case strings.HasPrefix(line, "## "):
			check()
			_, day, _ := strings.Cut(line, "] - ")
			released, _ = time.Parse(time.DateOnly, day) // none of what is not released
			within = false
		case strings.HasPrefix(line, "### "):
			check()
			within = line == "### Deprecated"
		case within && strings.HasPrefix(line, "- "):
			items = append(items, line)
		case within && len(items) > 0:
			items[len(items)-1] += " " + strings.TrimSpace(line)
		}
	}
	check()
	return wrong
}
