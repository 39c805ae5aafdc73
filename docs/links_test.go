package docs

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"
)

var (
	markdownLink = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	// codeLink is how a comment in the code names a page, or a heading of one.
	codeLink = regexp.MustCompile(`\bdocs/([a-zA-Z/-]+\.md)(#[a-z0-9_-]+)?`)
	heading  = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	fence    = regexp.MustCompile("(?ms)^```.*?^```")
)

// TestLinks follows each link between the pages, and from comments in the code to them, to its file and heading.
func TestLinks(t *testing.T) {
	t.Parallel()
	for name, text := range sources(t) {
		var links [][2]string // file, heading
		if path.Ext(name) == ".md" {
			for _, m := range markdownLink.FindAllStringSubmatch(fence.ReplaceAllString(text, ""), -1) {
				if strings.Contains(m[1], "://") {
					continue
				}
				to, anchor, _ := strings.Cut(m[1], "#")
				if to == "" {
					links = append(links, [2]string{name, anchor})
				} else {
					links = append(links, [2]string{path.Join(path.Dir(name), to), anchor})
				}
			}
		} else {
			for _, m := range codeLink.FindAllStringSubmatch(text, -1) {
				links = append(links, [2]string{"docs/" + m[1], strings.TrimPrefix(m[2], "#")})
			}
		}
		for _, link := range links {
			page, err := os.ReadFile(filepath.Join("..", link[0]))
			switch {
			case err != nil && !isDirectory(filepath.Join("..", link[0])):
				t.Errorf("%s: link to %s: no such file", name, link[0])
			case link[1] != "" && !headings(string(page))[link[1]]:
				t.Errorf("%s: link to %s#%s: no such heading", name, link[0], link[1])
			}
		}
	}
}

// sources are the repository's pages and what may name them, by their path from its root.
func sources(t *testing.T) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir("..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == "build" || d.Name() == "node_modules" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		switch path.Ext(name) {
		case ".md", ".go", ".h", ".c", ".yaml":
			text, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			files[filepath.ToSlash(strings.TrimPrefix(name, "../"))] = string(text)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func isDirectory(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// headings are a page's, as GitHub makes anchors of them.
func headings(page string) map[string]bool {
	anchors := map[string]bool{}
	for _, m := range heading.FindAllStringSubmatch(fence.ReplaceAllString(page, ""), -1) {
		anchors[anchor(m[1])] = true
	}
	return anchors
}

func anchor(heading string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == ' ':
			return '-'
		case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
			return unicode.ToLower(r)
		}
		return -1
	}, heading)
}
