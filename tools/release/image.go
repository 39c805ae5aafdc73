package main

import (
	"fmt"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"tracer/tools/ociimage"
	"tracer/tools/tarfile"
)

// imageName is the image's name in the registry that it is for, without a tag.
func (r *release) imageName() string { return r.registry + "/tracer" }

// inImage says whether the image has the program.
func (b binary) inImage() bool { return b.name == program }

// imagePlatforms are those that the image has, as OS/ARCH.
func imagePlatforms(binaries []binary) (platforms []string) {
	for _, b := range binaries {
		if b.inImage() {
			platforms = append(platforms, b.os+"/"+b.arch)
		}
	}
	return platforms
}

// writeImage writes the image's archive and returns its digest.
func writeImage(r *release, source checkout, binaries []binary) (v1.Hash, error) {
	var roots []ociimage.Root
	for _, b := range binaries {
		if b.inImage() {
			texts, err := licenceTexts(source, b.command)
			if err != nil {
				return v1.Hash{}, err
			}
			roots = append(roots, ociimage.Root{Arch: b.arch, Files: append([]tarfile.File{b.file}, texts...)})
		}
	}
	index, err := ociimage.Pack(ociimage.Config{Entrypoint: "/" + program, Version: r.version, Created: source.time, Labels: map[string]string{
		"org.opencontainers.image.title":       program,
		"org.opencontainers.image.description": "Finds the device that makes pod-to-pod traffic slow",
		"org.opencontainers.image.licenses":    licence,
		"org.opencontainers.image.revision":    source.commit,
	}}, roots)
	if err != nil {
		return v1.Hash{}, err
	}
	if err := ociimage.WriteArchive(index, r.imageName(), r.version, r.file("image.tar")); err != nil {
		return v1.Hash{}, fmt.Errorf("write the image: %w", err)
	}
	return index.Digest()
}
