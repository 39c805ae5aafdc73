package main

import (
	"runtime/debug"
	"testing"
	"time"

	"tracer/tools/tarfile"
)

// TestModules: each module is there once, by the name and the version that package managers know, and under its own identifier.
func TestModules(t *testing.T) {
	b := binary{command: commands()[0], os: "linux", arch: "amd64", file: tarfile.File{Name: "tracer", Data: []byte("program")}}
	b.info = &debug.BuildInfo{GoVersion: "go1.26.8", Deps: []*debug.Module{
		{Path: "github.com/Azure/go", Version: "v1.0.0", Sum: "h1:a="},
		{Path: "example.com/b", Version: "v2.0.0+incompatible", Sum: "h1:b="},
		{Path: "example.com/c", Version: "v1.0.0", Replace: &debug.Module{Path: "example.com/fork", Version: "v1.0.1", Sum: "h1:f="}},
		{Path: "example.com/local", Version: "v1.0.0", Replace: &debug.Module{Path: "./local"}},
	}}
	d := newSBOM("tracer", "0", time.Time{})
	d.describe(d.addBinary(b, "v0.1.0"))
	b.arch = "arm64"
	d.describe(d.addBinary(b, "v0.1.0"))
	want := []struct{ purl, from string }{
		{"", "NOASSERTION"}, // the program
		{"pkg:golang/stdlib@1.26.8", "NOASSERTION"},
		{"pkg:golang/github.com/Azure/go@v1.0.0", "https://proxy.golang.org/github.com/!azure/go/@v/v1.0.0.zip"},
		{"pkg:golang/example.com/b@v2.0.0%2Bincompatible", "https://proxy.golang.org/example.com/b/@v/v2.0.0+incompatible.zip"},
		{"pkg:golang/example.com/fork@v1.0.1", "https://proxy.golang.org/example.com/fork/@v/v1.0.1.zip"},
		{"pkg:golang/./local@", "NOASSERTION"},
		{"", "NOASSERTION"}, // the other program
	}
	if len(d.Packages) != len(want) {
		t.Fatalf("%d packages, want %d", len(d.Packages), len(want))
	}
	for i, p := range d.Packages {
		got := ""
		if len(p.PackageExternalReferences) > 0 {
			got = p.PackageExternalReferences[0].Locator
		}
		if got != want[i].purl || p.PackageDownloadLocation != want[i].from {
			t.Errorf("%s: %s from %s, want %v", p.PackageName, got, p.PackageDownloadLocation, want[i])
		}
	}
	if n := len(d.Relationships); n != 2*(1+5) {
		t.Errorf("%d relationships", n)
	}
}
