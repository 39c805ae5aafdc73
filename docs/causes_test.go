package docs

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"tracer/internal/diagnose"
)

// causeSections are those of each page in causes/, in their order.
var causeSections = []string{"What it means", "How the kernel shows it", "What to do", "What it can be confused with"}

// TestCausePages has a page for each cause of the registry, and for nothing else: its name, a sentence, and the four sections.
func TestCausePages(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob("causes/*.md")
	if err != nil {
		t.Fatal(err)
	}
	section := regexp.MustCompile(`(?m)^## (.+)$`)
	for _, c := range diagnose.Causes() {
		name := string(c.Cause)
		pages = slices.DeleteFunc(pages, func(p string) bool { return p == "causes/"+name+".md" })
		page, err := Cause(name)
		if err != nil {
			t.Error(err)
			continue
		}
		text := fence.ReplaceAllString(page, "code")
		var found []string
		for _, m := range section.FindAllStringSubmatch(text, -1) {
			found = append(found, m[1])
		}
		if !slices.Equal(found, causeSections) {
			t.Errorf("%s: sections %q, want %q", name, found, causeSections)
		}
		parts := section.Split(text, -1)
		head, ok := strings.CutPrefix(parts[0], "# "+name+"\n\n")
		if head = strings.TrimSpace(head); !ok || head == "" || strings.Contains(head, "\n\n") || !strings.HasSuffix(head, ".") {
			t.Errorf("%s: it does not begin with its name and a sentence: %q", name, parts[0])
		}
		for i, part := range parts[1:] {
			if len(strings.TrimSpace(part)) < 80 {
				t.Errorf("%s: %s says nothing", name, found[i])
			}
		}
		if !strings.Contains(page, "`") {
			t.Errorf("%s: no command and no counter", name)
		}
		if n := strings.Count(page, "\n"); n < 20 || n > 80 {
			t.Errorf("%s: %d lines; half a page to a page is meant", name, n)
		}
	}
	if !slices.Equal(pages, []string{"causes/README.md"}) {
		t.Errorf("pages of no cause: %q", pages)
	}
}
