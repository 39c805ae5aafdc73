package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"tracer/tools/tarfile"
)

// command is one of the programs that are released.
type command struct {
	name      string
	tags      string
	platforms []string // GOOS/GOARCH
	licence   string   // in SPDX's words
	texts     []string // of the licences
}

const (
	program = "tracer"         // what the image has
	plugin  = "kubectl-tracer" // what krew installs
)

// commands are all programs that are released, each from cmd/NAME.
func commands() []command {
	return []command{
		// nolab: what is shipped cannot inject faults.
		{
			name: program, tags: "nolab", platforms: []string{"linux/amd64", "linux/arm64"},
			licence: licence, texts: []string{"LICENSE", "bpf/LICENSE.GPL-2.0"},
		},
		{
			name: plugin, platforms: []string{"linux/amd64", "linux/arm64", "darwin/amd64", "darwin/arm64", "windows/amd64", "windows/arm64"},
			licence: "Apache-2.0", texts: []string{"LICENSE"},
		},
	}
}

// binary is a command for one platform.
type binary struct {
	command
	os, arch string
	file     tarfile.File
	info     *buildinfo.BuildInfo
}

func (b binary) platform() string { return b.os + "_" + b.arch }

// archiveName is the name of its archive, as goreleaser has it.
func (b binary) archiveName(number string) string {
	if b.os == "windows" {
		return b.baseName(number) + ".zip"
	}
	return b.baseName(number) + ".tar.gz"
}

// baseName is what the names of all its files begin with.
func (b binary) baseName(number string) string { return b.name + "_" + number + "_" + b.platform() }

func buildAll(ctx context.Context, r *release, source checkout) ([]binary, error) {
	dir, err := os.MkdirTemp("", "tracer-release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var binaries []binary
	for _, c := range commands() {
		for _, platform := range c.platforms {
			if len(r.platforms) > 0 && !slices.Contains(r.platforms, platform) {
				continue
			}
			b, err := build(ctx, r, source, c, platform, dir)
			if err != nil {
				return nil, fmt.Errorf("build %s for %s: %w", c.name, platform, err)
			}
			binaries = append(binaries, b)
		}
	}
	if !slices.ContainsFunc(binaries, binary.inImage) {
		return nil, fmt.Errorf("the image would be empty: none of %q is a platform of %s", r.platforms, program)
	}
	return binaries, nil
}

func build(ctx context.Context, r *release, source checkout, c command, platform, dir string) (binary, error) {
	goos, arch, _ := strings.Cut(platform, "/")
	name := c.name
	if goos == "windows" {
		name += ".exe"
	}
	path := filepath.Join(dir, goos, arch, name)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", c.tags,
		"-ldflags", "-s -w -X main.version="+r.version+" -X main.commit="+source.commit+" -X main.repository="+r.imageName(), "-o", path, "./cmd/"+c.name)
	cmd.Dir = source.dir
	cmd.Env = environment(os.Environ(), goos, arch)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return binary{}, err
	}
	file, err := tarfile.Read(path)
	if err != nil {
		return binary{}, err
	}
	info, err := buildinfo.ReadFile(path)
	if err != nil {
		return binary{}, fmt.Errorf("read build information: %w", err)
	}
	return binary{c, goos, arch, file, info}, nil
}

// environment is ours less what would change the binary: flags, microarchitectures and experiments of whoever builds.
func environment(ours []string, goos, arch string) []string {
	var env []string
	for _, variable := range ours {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "GOFLAGS", "GOEXPERIMENT", "GOAMD64", "GOARM64", "GOFIPS140", "GOWORK", "GOOS", "GOARCH", "CGO_ENABLED":
		default:
			env = append(env, variable)
		}
	}
	// Both are go's defaults; so that "go env -w" does not change them either.
	return append(env, "GOOS="+goos, "GOARCH="+arch, "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off", "GOEXPERIMENT=", "GOAMD64=v1",
		"GOARM64=v8.0", "GOFIPS140=off")
}

// licenceTexts are what a program comes with.
func licenceTexts(source checkout, c command) ([]tarfile.File, error) {
	var files []tarfile.File
	for _, name := range c.texts {
		file, err := tarfile.Read(source.path(name))
		if err != nil {
			return nil, err
		}
		file.Executable = false
		files = append(files, file)
	}
	return files, nil
}

// writeArchives writes one archive for each program and platform.
func writeArchives(r *release, source checkout, binaries []binary) error {
	for _, b := range binaries {
		texts, err := licenceTexts(source, b.command)
		if err != nil {
			return err
		}
		out, err := os.Create(filepath.Join(r.output, b.archiveName(r.number())))
		if err != nil {
			return err
		}
		defer out.Close()
		write := tarfile.WriteGzip
		if b.os == "windows" {
			write = tarfile.WriteZip
		}
		if err := write(out, append([]tarfile.File{b.file}, texts...), source.time); err != nil {
			return fmt.Errorf("write %s: %w", out.Name(), err)
		}
		if err := out.Close(); err != nil {
			return err
		}
	}
	return nil
}
