package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/vuln/scan"
)

// TestSnapshotIsRead has govulncheck find, in a folder of entries such as the snapshot, one of a function that is called here.
func TestSnapshotIsRead(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	known, err := shorten([]byte(`{"id":"GO-2026-1","modified":"2026-01-02T00:00:00Z","published":"2026-01-02T00:00:00Z",
		"summary":"it is called","database_specific":{"url":"https://example.com"},"affected":[{"package":{"name":"stdlib","ecosystem":"Go"},
		"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]}],
		"ecosystem_specific":{"imports":[{"path":"encoding/json","symbols":["Unmarshal"]}]}}]}`), map[string]string{"stdlib": "v1.26.0"})
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"GO-2026-1.json": known, "DATABASE": []byte("of today")} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	c := scan.Command(t.Context(), "-db", "file://"+dir, ".")
	c.Stdout, c.Stderr = &out, &out
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	const found = 3 // of govulncheck's exit codes
	err = c.Wait()
	var status interface{ ExitCode() int }
	if !errors.As(err, &status) || status.ExitCode() != found || !strings.Contains(out.String(), "GO-2026-1") {
		t.Errorf("%v: %s", err, &out)
	}
}

// TestShorten keeps what a version from the required one on is open to.
func TestShorten(t *testing.T) {
	t.Parallel()
	required := map[string]string{"example.com/used": "v1.4.0", "stdlib": "v1.26.0"}
	for _, test := range []struct {
		name, module, events, withdrawn string
		want                            bool
	}{
		{"never fixed", "example.com/used", `{"introduced":"0"}`, "", true},
		{"fixed before", "example.com/used", `{"introduced":"0"},{"fixed":"1.3.9"}`, "", false},
		{"fixed by the required version", "example.com/used", `{"introduced":"0"},{"fixed":"1.4.0"}`, "", false},
		{"fixed later", "example.com/used", `{"introduced":"0"},{"fixed":"1.4.1"}`, "", true},
		{"fixed in an older line and open in a newer", "example.com/used", `{"introduced":"0"},{"fixed":"1.2.3"},{"introduced":"1.5.0"}`, "", true},
		{"withdrawn", "example.com/used", `{"introduced":"0"}`, `"2026-01-01T00:00:00Z"`, false},
		{"of another module", "example.com/other", `{"introduced":"0"}`, "", false},
		{"standard library", "stdlib", `{"introduced":"1.26.0-0"},{"fixed":"1.26.2"}`, "", true},
	} {
		withdrawn := ""
		if test.withdrawn != "" {
			withdrawn = `"withdrawn":` + test.withdrawn + ","
		}
		short, err := shorten(fmt.Appendf(nil, `{"id":"GO-1",%s"details":"long","affected":[{"package":{"name":%q,"ecosystem":"Go"},
			"ranges":[{"type":"SEMVER","events":[%s]}],"ecosystem_specific":{"imports":[{"path":"p","symbols":["F"]}]}}]}`,
			withdrawn, test.module, test.events), required)
		if err != nil {
			t.Fatal(test.name, err)
		}
		if (short != nil) != test.want {
			t.Errorf("%s: kept %v, want %v", test.name, short != nil, test.want)
		}
		if short == nil {
			continue
		}
		var kept map[string]any
		if err := json.Unmarshal(short, &kept); err != nil {
			t.Fatal(err)
		}
		specific := kept["affected"].([]any)[0].(map[string]any)["ecosystem_specific"]
		if kept["details"] != nil || specific == nil {
			t.Errorf("%s: %s", test.name, short)
		}
	}
}
