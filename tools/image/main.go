// Command image packs static binaries into one OCI image for several architectures, with the configuration that the
// Dockerfile gives, as an archive. It needs no container runtime.
//
//	image [-name NAME] [-entrypoint PATH] -version V -output FILE DIR...
//
// Each DIR is named after its GOARCH and holds the files of the image's root.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

func main() {
	name := flag.String("name", "docker.io/library/tracer", "the image's name")
	entrypoint := flag.String("entrypoint", "/tracer", "path of the program, that is started with the argument agent if it is this one")
	version := flag.String("version", "unknown", "version of what is packed, and the image's tag")
	output := flag.String("output", "image.tar", "archive to write")
	flag.Parse()
	if err := run(*name, *entrypoint, *version, *output, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(name, entrypoint, version, output string, roots []string) error {
	index := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for _, root := range roots {
		image, platform, err := pack(root, entrypoint, version)
		if err != nil {
			return fmt.Errorf("pack %s: %w", root, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: platform},
		})
	}

	dir, err := os.MkdirTemp("", "tracer-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	// An archive's outer index names the image; the inner one lists its architectures.
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": version,
		"io.containerd.image.name":          name + ":" + version,
	})); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	return archive(dir, output)
}

// pack makes the image of one architecture. It depends on the files' content alone: no times, no
// owners, no umask.
func pack(root, entrypoint, version string) (v1.Image, *v1.Platform, error) {
	var content bytes.Buffer
	if err := writeLayer(&content, root); err != nil {
		return nil, nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, nil, err
	}
	var arguments []string
	if entrypoint == "/tracer" {
		arguments = []string{"agent"}
	}
	platform := &v1.Platform{OS: "linux", Architecture: filepath.Base(root)}
	image, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{
		OS:           platform.OS,
		Architecture: platform.Architecture,
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       "0",
			Entrypoint: []string{entrypoint},
			Cmd:        arguments,
			Labels:     map[string]string{"org.opencontainers.image.version": version},
		},
	})
	if err != nil {
		return nil, nil, err
	}
	image = mutate.ConfigMediaType(image, types.OCIConfigJSON)
	image, err = mutate.AppendLayers(image, layer)
	return image, platform, err
}

func writeLayer(w io.Writer, root string) error {
	files, err := os.ReadDir(root)
	if err != nil {
		return err
	}
	layer := tar.NewWriter(w)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(root, file.Name()))
		if err != nil {
			return err
		}
		info, err := file.Info()
		if err != nil {
			return err
		}
		mode := int64(0o644)
		if info.Mode()&0o100 != 0 {
			mode = 0o755
		}
		header := &tar.Header{Name: file.Name(), Mode: mode, Size: int64(len(content))}
		if err := layer.WriteHeader(header); err != nil {
			return err
		}
		if _, err := layer.Write(content); err != nil {
			return err
		}
	}
	return layer.Close()
}

func archive(dir, output string) error {
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	defer file.Close()
	out := tar.NewWriter(file)
	if err := out.AddFS(os.DirFS(dir)); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	if err := out.Close(); err != nil {
		return fmt.Errorf("write %s: %w", output, err)
	}
	return file.Close()
}
