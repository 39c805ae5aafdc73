package k8srig

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries is a folder with the programs that a module's go.mod names as its tools. They are built unless the cache has
// them of this very source.
func Binaries(ctx context.Context, module string) (string, error) {
	return binaries(ctx, module, "CGO_ENABLED=1") // flanneld's backend udp is in C
}

// StaticBinaries are such programs, that need no library: an image has none.
func StaticBinaries(ctx context.Context, module string) (string, error) {
	return binaries(ctx, module, "CGO_ENABLED=0")
}

func binaries(ctx context.Context, module, cgo string) (string, error) {
	cache, unlock, err := lockCache("cni")
	if err != nil {
		return "", err
	}
	defer unlock()
	sum := sha256.New()
	err = filepath.WalkDir(module, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		sum.Write(data)
		return err
	})
	if err != nil {
		return "", err
	}
	name := filepath.Join(cache, filepath.Base(module))
	dir := fmt.Sprintf("%s-%.8x", name, sum.Sum(nil))
	if used(dir) {
		return dir, nil
	}
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-gcflags", compile, "-ldflags", "-s -w", "-o", dir+".new/", "tool")
	build.Dir = module
	build.Env = append(os.Environ(), cgo, "GOFLAGS=-buildvcs=false")
	if err := run(build); err != nil {
		return "", fmt.Errorf("build %s: %w", filepath.Base(module), err)
	}
	// Sixteen digits: flannel's is not flannel-plugin's.
	if err := prune(name + "-????????????????"); err != nil {
		return "", err
	}
	return dir, os.Rename(dir+".new", dir)
}
