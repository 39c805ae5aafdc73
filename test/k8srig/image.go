package k8srig

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
)

// Images makes the archives that nodes import: the shipped image by "make image", and the application's.
func Images(ctx context.Context, dir string) ([]string, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return nil, err
	}
	shipped := exec.CommandContext(ctx, "make", "image", "VERSION=dev", "ARCHES="+runtime.GOARCH, "DOCKER=")
	shipped.Dir = root
	if err := run(shipped); err != nil {
		return nil, err
	}
	files := filepath.Join(dir, runtime.GOARCH)
	if err := os.MkdirAll(files, 0o755); err != nil {
		return nil, err
	}
	app := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(files, "app"), "./cmd/app")
	app.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
	if err := run(app); err != nil {
		return nil, err
	}
	archive, err := Image(ctx, dir, "k8srig", "app", files)
	return []string{filepath.Join(root, "build", "tracer-image.tar"), archive}, err
}

// Image packs the files of a folder, which is named after their GOARCH, into an archive that nodes import: the image
// docker.io/library/NAME:dev, which runs that program.
func Image(ctx context.Context, dir, name, program, files string) (string, error) {
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return "", err
	}
	archive := filepath.Join(dir, name+".tar")
	pack := exec.CommandContext(ctx, "go", "-C", filepath.Join(root, "tools"), "run", "./image", "-name", "docker.io/library/"+name,
		"-entrypoint", "/"+program, "-version", "dev", "-output", archive, files)
	if err := run(pack); err != nil {
		return "", fmt.Errorf("pack %s: %w", name, err)
	}
	return archive, nil
}
