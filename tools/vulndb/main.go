// Command vulndb renews the part of the Go vulnerability database that lint reads where there is no network:
//
//	go run ./vulndb -from DIR -of 'golang/vulndb 0123abc, 2026-08-21'
//
// DIR has the database's OSV entries: data/osv of a clone of github.com/golang/vulndb, or ID of https://vuln.go.dev/vulndb.zip. It keeps
// those that some version is open to, from the one that is required on, of each module that the product or the tools may be built
// with and of the standard library.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/semver"
)

func main() {
	from := flag.String("from", "", "directory with the database's OSV entries")
	of := flag.String("of", "", "which database that is, with its date: what lint shows")
	to := flag.String("to", "vulndb/snapshot", "directory to write to")
	flag.Parse()
	err := errors.New("give -from and -of")
	if *from != "" && *of != "" {
		err = renew(*from, *to, *of)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "vulndb:", err)
		os.Exit(1)
	}
}

func renew(from, to, of string) error {
	required := map[string]string{}
	for _, dir := range []string{"..", "."} {
		if err := addModules(required, dir); err != nil {
			return err
		}
	}
	entries, err := filepath.Glob(filepath.Join(from, "GO-*.json"))
	if err == nil && len(entries) == 0 {
		err = fmt.Errorf("no GO-*.json in %s", from)
	}
	if err == nil {
		err = os.RemoveAll(to)
	}
	if err == nil {
		err = os.MkdirAll(to, 0o755)
	}
	if err != nil {
		return err
	}
	for _, name := range entries {
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		short, err := shorten(text, required)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if short == nil {
			continue
		}
		if err := os.WriteFile(filepath.Join(to, filepath.Base(name)), short, 0o644); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(to, "DATABASE"), []byte(of+"\n"), 0o644)
}

// addModules adds the modules that a module may be built with, and the standard library, with the lowest version of each.
func addModules(required map[string]string, dir string) error {
	add := func(path, version string) {
		if before, ok := required[path]; !ok || semver.Compare(version, before) < 0 {
			required[path] = version
		}
	}
	list := exec.Command("go", "list", "-m", "-f", "{{.Path}} {{.Version}} {{if .Main}}{{.GoVersion}}{{end}}", "all")
	list.Dir = dir
	out, err := list.Output()
	if err != nil {
		return fmt.Errorf("go list -m all in %s: %w", dir, err)
	}
	for line := range strings.Lines(string(out)) {
		switch path, version, _ := strings.Cut(strings.TrimSpace(line), " "); {
		case strings.HasPrefix(version, "v"):
			add(path, version)
		case version != "":
			add("stdlib", "v"+strings.TrimSpace(version))
			add("toolchain", "v"+strings.TrimSpace(version))
		}
	}
	return nil
}

// entry is what govulncheck needs of an OSV entry: https://go.dev/security/vuln/database#schema.
type entry struct {
	ID        string          `json:"id"`
	Modified  string          `json:"modified"`
	Published string          `json:"published"`
	Withdrawn string          `json:"withdrawn,omitempty"`
	Aliases   []string        `json:"aliases,omitempty"`
	Summary   string          `json:"summary"`
	Affected  []affected      `json:"affected"`
	Database  json.RawMessage `json:"database_specific,omitempty"`
}

type affected struct {
	Package struct {
		Name      string `json:"name"`
		Ecosystem string `json:"ecosystem"`
	} `json:"package"`
	Ranges []struct {
		Type   string  `json:"type"`
		Events []event `json:"events"`
	} `json:"ranges"`
	Ecosystem json.RawMessage `json:"ecosystem_specific,omitempty"`
}

type event struct {
	Introduced string `json:"introduced,omitempty"`
	Fixed      string `json:"fixed,omitempty"`
}

// shorten leaves out of an entry what nobody needs for the required versions, and returns nil where nothing is left.
func shorten(text []byte, required map[string]string) ([]byte, error) {
	var e entry
	if err := json.Unmarshal(text, &e); err != nil {
		return nil, err
	}
	var concerned []affected
	for _, a := range e.Affected {
		if version, ok := required[a.Package.Name]; ok && a.openFrom(version) {
			concerned = append(concerned, a)
		}
	}
	if e.Affected = concerned; len(concerned) == 0 || e.Withdrawn != "" {
		return nil, nil
	}
	short, err := json.MarshalIndent(e, "", " ")
	return append(short, '\n'), err
}

// openFrom tells whether a version, or a later one, may be vulnerable.
func (a *affected) openFrom(version string) bool {
	for _, r := range a.Ranges {
		open := false
		for _, e := range r.Events {
			switch {
			case e.Introduced != "":
				open = true
			case semver.Compare("v"+e.Fixed, version) > 0:
				return true
			default:
				open = false
			}
		}
		if open {
			return true
		}
	}
	return len(a.Ranges) == 0
}
