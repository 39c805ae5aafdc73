package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// checkKrew installs the plugin as krew does, on each platform: by the address, the sum and the name in the manifest.
func checkKrew(t *testing.T, files map[string][]byte) {
	t.Helper()
	var manifest krewManifest
	decoder := yaml.NewDecoder(bytes.NewReader(files["tracer_0.1.0_krew.yaml"]))
	decoder.KnownFields(true)
	if err := decoder.Decode(&manifest); err != nil {
		t.Fatal(err)
	}
	if manifest.Metadata.Name != "tracer" || manifest.Spec.Version != "v0.1.0" || manifest.Spec.Homepage != "https://tracer.example" ||
		strings.Contains(manifest.Spec.ShortDescription, "\n") || len(manifest.Spec.ShortDescription) > 50 || len(manifest.Spec.Platforms) != 6 {
		t.Errorf("krew's manifest is %+v", manifest)
	}
	for _, p := range manifest.Spec.Platforms {
		name, ok := strings.CutPrefix(p.URI, "https://tracer.example/releases/download/v0.1.0/")
		data := files[name]
		if digest := sha256.Sum256(data); !ok || data == nil || p.SHA256 != hex.EncodeToString(digest[:]) {
			t.Errorf("%s is no file of the release with the sum %s", p.URI, p.SHA256)
			continue
		}
		platform := p.Selector.MatchLabels
		if !strings.Contains(name, "_"+platform["os"]+"_"+platform["arch"]+".") {
			t.Errorf("%s is for %v", name, platform)
		}
		program, names := unpack(t, name, data, p.Bin)
		if !slices.Equal(names, []string{p.Bin, "LICENSE"}) {
			t.Errorf("%s has %q", name, names)
		}
		info, err := buildinfo.Read(bytes.NewReader(program))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		settings := map[string]string{}
		for _, s := range info.Settings {
			settings[s.Key] = s.Value
		}
		if settings["GOOS"] != platform["os"] || settings["GOARCH"] != platform["arch"] || settings["CGO_ENABLED"] != "0" {
			t.Errorf("%s was built with %v", name, settings)
		}
	}
}

// unpack reads one file of an archive, which must be executable, and the names of all.
func unpack(t *testing.T, archive string, data []byte, want string) (content []byte, names []string) {
	t.Helper()
	take := func(info fs.FileInfo, r io.Reader) {
		names = append(names, info.Name())
		if info.Name() != want {
			return
		}
		var err error
		if content, err = io.ReadAll(r); err != nil || info.Mode().Perm() != 0o755 {
			t.Errorf("%s in %s has the mode %v: %v", want, archive, info.Mode(), err)
		}
	}
	if strings.HasSuffix(archive, ".zip") {
		z, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range z.File {
			r, err := f.Open()
			if err != nil {
				t.Fatal(err)
			}
			take(f.FileInfo(), r)
		}
		return content, names
	}
	compressed, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	for r := tar.NewReader(compressed); ; {
		header, err := r.Next()
		if errors.Is(err, io.EOF) {
			return content, names
		}
		if err != nil {
			t.Fatal(err)
		}
		take(header.FileInfo(), r)
	}
}
