package main

import (
	"context"
	"debug/buildinfo"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"tracer/tools/tarfile"
)

// command is one of the programs that are released.
type command struct {
	name      string
	tags      string
	platforms []string // GOOS/GOARCH
}

// commands are all programs that are released, each from cmd/NAME. The image has the first.
func commands() []command {
	return []command{
		// nolab: what is shipped cannot inject faults.
		{name: "tracer", tags: "nolab", platforms: []string{"linux/amd64", "linux/arm64"}},
	}
}

// binary is a command for one platform.
type binary struct {
	command  string
	os, arch string
	file     tarfile.File
	info     *buildinfo.BuildInfo
}

// archiveName is the archive's name without its ending, as goreleaser has it.
func (b binary) archiveName() string { return b.os + "_" + b.arch }

func buildAll(ctx context.Context, r *release, source checkout) ([]binary, error) {
	dir, err := os.MkdirTemp("", "tracer-release-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var binaries []binary
	for _, c := range commands() {
		for _, platform := range c.platforms {
			b, err := build(ctx, r, source, c, platform, dir)
			if err != nil {
				return nil, fmt.Errorf("build %s for %s: %w", c.name, platform, err)
			}
			binaries = append(binaries, b)
		}
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
		"-ldflags", "-s -w -X main.version="+r.version+" -X main.commit="+source.commit, "-o", path, "./cmd/"+c.name)
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
	return binary{c.name, goos, arch, file, info}, nil
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

// licences are the texts that binaries come with.
func licences(source checkout) ([]tarfile.File, error) {
	var files []tarfile.File
	for _, name := range []string{"LICENSE", "bpf/LICENSE.GPL-2.0"} {
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
	texts, err := licences(source)
	if err != nil {
		return err
	}
	for _, b := range binaries {
		out, err := os.Create(filepath.Join(r.output, b.command+"_"+r.number()+"_"+b.archiveName()+".tar.gz"))
		if err != nil {
			return err
		}
		defer out.Close()
		if err := tarfile.WriteGzip(out, append([]tarfile.File{b.file}, texts...), source.time); err != nil {
			return fmt.Errorf("write %s: %w", out.Name(), err)
		}
		if err := out.Close(); err != nil {
			return err
		}
	}
	return nil
}
