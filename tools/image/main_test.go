package main

import (
	"archive/tar"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// TestImage packs two architectures and reads the archive as those do who import it.
func TestImage(t *testing.T) {
	first, bytes := imported(t, "/tracer", 0o700, 0o600)
	if got := slices.Sorted(maps.Keys(first)); !slices.Equal(got, []string{"amd64", "arm64"}) {
		t.Errorf("images are for %q", got)
	}
	for arch, got := range first {
		c := got.config
		if c.OS != "linux" || c.Architecture != arch || c.Config.User != "0" || !slices.Equal(c.Config.Entrypoint, []string{"/tracer"}) ||
			!slices.Equal(c.Config.Cmd, []string{"agent"}) || c.Config.Labels["org.opencontainers.image.version"] != "v1" {
			t.Errorf("%s: configured as %+v", arch, c)
		}
		want := map[string]entry{"tracer": {0o755, "program for " + arch}, "LICENSE": {0o644, "terms"}}
		if !maps.Equal(got.files, want) {
			t.Errorf("%s: files are %v, want %v", arch, got.files, want)
		}
	}
	// The content alone decides: neither when it was packed nor by whom.
	if _, again := imported(t, "/tracer", 0o755, 0o644); again != bytes {
		t.Error("the same content makes two archives")
	}
	other, _ := imported(t, "/app", 0o755, 0o644)
	if cmd := other["arm64"].config.Config.Cmd; len(cmd) != 0 {
		t.Errorf("another program is started with %q", cmd)
	}
}

type entry struct {
	mode    int64
	content string
}

type packed struct {
	config *v1.ConfigFile
	files  map[string]entry
}

// imported is what an archive holds, by architecture, and the archive itself.
func imported(t *testing.T, entrypoint string, program, text os.FileMode) (map[string]packed, string) {
	t.Helper()
	dir := t.TempDir()
	var roots []string
	for _, arch := range []string{"amd64", "arm64"} {
		root := filepath.Join(dir, arch)
		roots = append(roots, root)
		check(t, os.Mkdir(root, 0o700))
		check(t, os.WriteFile(filepath.Join(root, "tracer"), []byte("program for "+arch), program))
		check(t, os.WriteFile(filepath.Join(root, "LICENSE"), []byte("terms"), text))
	}
	archive := filepath.Join(dir, "image.tar")
	check(t, run("docker.io/library/tracer", entrypoint, "v1", archive, roots))

	path := filepath.Join(dir, "layout")
	unpack(t, archive, path)
	outer := must(layout.ImageIndexFromPath(path))(t)
	manifest := must(outer.IndexManifest())(t)
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/library/tracer:v1" ||
		manifest.Manifests[0].MediaType != types.OCIImageIndex {
		t.Fatalf("the archive lists %+v", manifest.Manifests)
	}
	digest := manifest.Manifests[0].Digest
	inner := must(outer.ImageIndex(digest))(t)
	images := map[string]packed{}
	for _, m := range must(inner.IndexManifest())(t).Manifests {
		image := must(inner.Image(m.Digest))(t)
		layers := must(image.Layers())(t)
		if len(layers) != 1 {
			t.Fatalf("%d layers", len(layers))
		}
		content := must(layers[0].Uncompressed())(t)
		images[m.Platform.Architecture] = packed{must(image.ConfigFile())(t), entries(t, content)}
		check(t, content.Close())
	}
	return images, string(must(os.ReadFile(archive))(t))
}

func entries(t *testing.T, r io.Reader) map[string]entry {
	t.Helper()
	files := map[string]entry{}
	for archive := tar.NewReader(r); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		check(t, err)
		files[header.Name] = entry{header.Mode, string(must(io.ReadAll(archive))(t))}
	}
}

func unpack(t *testing.T, archive, dir string) {
	t.Helper()
	file := must(os.Open(archive))(t)
	defer file.Close()
	for name, e := range entries(t, file) {
		if strings.HasSuffix(name, "/") {
			continue
		}
		path := filepath.Join(dir, name)
		check(t, os.MkdirAll(filepath.Dir(path), 0o700))
		check(t, os.WriteFile(path, []byte(e.content), 0o600))
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// must is a value that there has to be.
func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		check(t, err)
		return v
	}
}
