// Package ociimage packs static binaries into one OCI image for several architectures, with the configuration that the
// Dockerfile gives. It needs no container runtime, and the same content has the same digest, whenever and wherever it is packed.
package ociimage

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"tracer/tools/tarfile"
)

// Config is what the images of all architectures have in common.
type Config struct {
	Entrypoint string // path of the program, that is started with the argument agent if it is /tracer
	Version    string
	Created    time.Time         // zero leaves it out
	Labels     map[string]string // beside the version
}

// Root is the content of one architecture's image.
type Root struct {
	Arch  string // GOARCH
	Files []tarfile.File
}

// Pack makes the image.
func Pack(config Config, roots []Root) (v1.ImageIndex, error) {
	index := v1.ImageIndex(mutate.IndexMediaType(empty.Index, types.OCIImageIndex))
	for _, root := range roots {
		image, err := pack(config, root)
		if err != nil {
			return nil, fmt.Errorf("pack %s: %w", root.Arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: root.Arch}},
		})
	}
	return index, nil
}

func pack(config Config, root Root) (v1.Image, error) {
	var content bytes.Buffer
	if err := tarfile.Write(&content, root.Files, time.Time{}); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	var arguments []string
	if config.Entrypoint == "/tracer" {
		arguments = []string{"agent"}
	}
	labels := map[string]string{"org.opencontainers.image.version": config.Version}
	maps.Copy(labels, config.Labels)
	image, err := mutate.ConfigFile(mutate.MediaType(empty.Image, types.OCIManifestSchema1), &v1.ConfigFile{
		OS:           "linux",
		Architecture: root.Arch,
		Created:      v1.Time{Time: config.Created},
		RootFS:       v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:       "0",
			Entrypoint: []string{config.Entrypoint},
			Cmd:        arguments,
			Labels:     labels,
		},
	})
	if err != nil {
		return nil, err
	}
	return mutate.AppendLayers(mutate.ConfigMediaType(image, types.OCIConfigJSON), layer)
}

// WriteArchive writes the image as an OCI archive. Its outer index names the image, as those read it who import it; the inner
// one lists the architectures.
func WriteArchive(index v1.ImageIndex, name, version, output string) error {
	dir, err := os.MkdirTemp("", "tracer-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": version,
		"io.containerd.image.name":          name + ":" + version,
	})); err != nil {
		return fmt.Errorf("write layout: %w", err)
	}
	if err := archive(dir, output); err != nil {
		return fmt.Errorf("archive the image: %w", err)
	}
	return nil
}

func archive(dir, output string) error {
	layout := os.DirFS(dir)
	var files []tarfile.File
	if err := fs.WalkDir(layout, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := fs.ReadFile(layout, name)
		files = append(files, tarfile.File{Name: name, Data: data})
		return err
	}); err != nil {
		return err
	}
	file, err := os.Create(output)
	if err != nil {
		return err
	}
	defer file.Close()
	if err := tarfile.Write(file, files, time.Time{}); err != nil {
		return err
	}
	return file.Close()
}
