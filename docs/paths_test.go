package docs

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"testing"
)

// source is how a page names a file or folder of the repository.
var source = regexp.MustCompile("`((?:bpf|cmd|deploy|hack|internal|test|tools)/[A-Za-z0-9_./-]*[A-Za-z0-9])/?`")

// TestPaths looks for each file and folder that a page names.
func TestPaths(t *testing.T) {
	t.Parallel()
	for name, text := range sources(t) {
		if path.Ext(name) != ".md" {
			continue
		}
		for _, m := range source.FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join("..", m[1])); err != nil {
				t.Errorf("%s names %s, which is not there", name, m[1])
			}
		}
	}
}
