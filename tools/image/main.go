// Command image packs static binaries into one OCI image for several architectures, as an archive.
//
//	image [-name NAME] [-entrypoint PATH] -version V -output FILE DIR...
//
// Each DIR is named after its GOARCH and holds the files of the image's root.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"tracer/tools/ociimage"
	"tracer/tools/tarfile"
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

func run(name, entrypoint, version, output string, dirs []string) error {
	var roots []ociimage.Root
	for _, dir := range dirs {
		files, err := tarfile.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("read the image's root: %w", err)
		}
		roots = append(roots, ociimage.Root{Arch: filepath.Base(dir), Files: files})
	}
	index, err := ociimage.Pack(ociimage.Config{Entrypoint: entrypoint, Version: version}, roots)
	if err != nil {
		return err
	}
	return ociimage.WriteArchive(index, name, version, output)
}
