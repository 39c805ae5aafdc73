package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSamplingKey reads the key of a file, else of the environment; what can be guessed and what cannot be read is refused.
func TestSamplingKey(t *testing.T) {
	const long = "0123456789abcdef"
	file := filepath.Join(t.TempDir(), "key")
	for _, test := range []struct {
		name, inFile, inEnvironment string // "" for none
		missing                     bool   // the file that is given is not there
		want, refused               string
	}{
		{name: "none"},
		{name: "file", inFile: " " + long + "\n", inEnvironment: "another, also long enough", want: long},
		{name: "environment", inEnvironment: long, want: long},
		{name: "short", inFile: "secret\n", refused: "fewer than 16 bytes"},
		{name: "empty", inFile: "\n", inEnvironment: long, refused: "fewer than 16 bytes"},
		{name: "short in the environment", inEnvironment: "secret", refused: "$SAMPLING_KEY has fewer than 16 bytes"},
		{name: "no such file", missing: true, inEnvironment: long, refused: "--sampling-key-file: open"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("SAMPLING_KEY", test.inEnvironment)
			given := ""
			if test.inFile != "" {
				given = file
				if err := os.WriteFile(file, []byte(test.inFile), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if test.missing {
				given = file + ".gone"
			}
			key, err := readSamplingKey(given)
			if key != test.want || (err != nil) != (test.refused != "") || err != nil && !strings.Contains(err.Error(), test.refused) {
				t.Errorf("%q, %v", key, err)
			}
		})
	}
}
