package ui

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sources is where the page comes from.
const sources = "../../ui"

// maxPage bounds all files of the page together, in bytes.
const maxPage = 300_000

// TestPage: what is committed is small, and asks nothing of other hosts.
func TestPage(t *testing.T) {
	t.Parallel()
	size := 0
	address := regexp.MustCompile(`https?://[^"'\s)\x60]*`)
	err := fs.WalkDir(built, "page", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		text, err := fs.ReadFile(built, path)
		size += len(text)
		for _, found := range address.FindAllString(string(text), -1) {
			if !strings.HasPrefix(found, "http://www.w3.org/") { // names of XML, and no addresses
				t.Errorf("%s: %s", path, found)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if size > maxPage {
		t.Errorf("the page has %d bytes, and at most %d may it have", size, maxPage)
	}
}

// TestSources: what is committed was built of these sources (ui/build.mjs makes the sum). That they build to it, hack/check-ui tells.
func TestSources(t *testing.T) {
	t.Parallel()
	names := []string{"build.mjs", "package-lock.json", "package.json", "tsconfig.json"}
	var src []string
	entries, err := os.ReadDir(filepath.Join(sources, "src"))
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		src = append(src, "src/"+entry.Name())
	}
	slices.Sort(src)
	sum := sha256.New()
	for _, name := range append(names, src...) {
		text, err := os.ReadFile(filepath.Join(sources, name))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%s\n%s", name, text)
	}
	want, err := fs.ReadFile(built, "page/sources.sum")
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintf("%x\n", sum.Sum(nil)); got != string(want) {
		t.Errorf("internal/ui/page was not built of ui/ as it is: run 'make ui' and commit the result")
	}
}

// TestText: names of the cluster become text and nothing else.
func TestText(t *testing.T) {
	t.Parallel()
	forbidden := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|javascript:`)
	files, err := filepath.Glob(filepath.Join(sources, "src/*"))
	if err != nil || len(files) < 10 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if found := forbidden.Find(text); found != nil {
			t.Errorf("%s: %s", file, found)
		}
	}
}

// TestLicences: what the page is made of is under a licence that hack/check-dependencies allows what is shipped, and its text comes with the
// page. What builds and tests it may be under weaker copyleft, as the tools may.
func TestLicences(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(sources, "package-lock.json"))
	if err != nil {
		t.Fatal(err)
	}
	var lock struct {
		Packages map[string]struct {
			Version, License string
			Dev              bool
		}
	}
	if err := json.Unmarshal(text, &lock); err != nil {
		t.Fatal(err)
	}
	texts, err := fs.ReadFile(built, "page/licences.txt")
	if err != nil {
		t.Fatal(err)
	}
	allowed := []string{"Apache-2.0", "MIT", "BSD-2-Clause", "BSD-3-Clause", "ISC"}
	shipped := 0
	for path, p := range lock.Packages {
		name, isPackage := strings.CutPrefix(path, "node_modules/")
		switch {
		case !isPackage: // the page itself
		case !slices.Contains(allowed, p.License) && (!p.Dev || p.License != "MPL-2.0"):
			t.Errorf("%s is under %q", name, p.License)
		case !p.Dev:
			shipped++
			if !strings.Contains(string(texts), name+" "+p.Version+"\n") {
				t.Errorf("the licence of %s %s does not come with the page", name, p.Version)
			}
		}
	}
	if shipped == 0 {
		t.Error("the page is made of nothing")
	}
}
