package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// image is a kernel as unpacked in the cache.
type image struct {
	dir     string // holds vmlinuz, and lib/modules with modules.dep
	release string // as uname -r says it
}

func (i image) vmlinuz() string { return filepath.Join(i.dir, "vmlinuz") }

// fetch gives a kernel from the cache, or from the mirror through the cache.
func fetch(ctx context.Context, k kernel, cache string) (image, error) {
	dir := filepath.Join(cache, k.id())
	err := keep(ctx, dir, func(work, done string) error {
		say("fetching kernel %s into %s", k.id(), dir)
		a, err := newApt(ctx, work, k.arch, k.suites)
		if err != nil {
			return err
		}
		name, err := a.newest(ctx, k.pattern)
		if err != nil {
			return err
		}
		release := strings.TrimPrefix(name, "linux-image-")
		names, err := a.parts(ctx, name, release)
		if err != nil {
			return err
		}
		say("fetching %s", strings.Join(names, ", "))
		root := filepath.Join(work, "root")
		if err := os.RemoveAll(root); err != nil { // of a run that was interrupted
			return err
		}
		if err := a.unpack(ctx, names, root); err != nil {
			return err
		}
		if err := arrange(ctx, root, done, release); err != nil {
			return fmt.Errorf("prepare kernel %s: %w", release, err)
		}
		return nil
	})
	if err != nil {
		return image{}, err
	}
	releases, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil || len(releases) != 1 {
		return image{}, fmt.Errorf("no kernel in %s: remove it, and it will be fetched again", dir)
	}
	return image{dir, filepath.Base(releases[0])}, nil
}

// arrange moves kernel and modules to where they do not depend on how Debian packs them, and says which module needs
// which.
func arrange(ctx context.Context, root, to, release string) error {
	modules := filepath.Join(to, "lib/modules", release)
	if err := os.MkdirAll(filepath.Dir(modules), 0o755); err != nil {
		return err
	}
	vmlinuz, err := first(root, "boot/vmlinuz-"+release, "lib/modules/"+release+"/vmlinuz", "usr/lib/modules/"+release+"/vmlinuz")
	if err != nil {
		return err
	}
	if err := os.Rename(vmlinuz, filepath.Join(to, "vmlinuz")); err != nil {
		return err
	}
	tree, err := first(root, "lib/modules/"+release, "usr/lib/modules/"+release)
	if err != nil {
		return err
	}
	if err := os.Rename(tree, modules); err != nil {
		return err
	}
	for _, link := range []string{"build", "source"} {
		if err := os.RemoveAll(filepath.Join(modules, link)); err != nil {
			return err
		}
	}
	if err := pruneModules(filepath.Join(modules, "kernel")); err != nil {
		return err
	}
	if err := uncompress(ctx, modules); err != nil {
		return err
	}
	_, err = output(ctx, to, "busybox", "depmod", "-b", to, release)
	return err
}

// uncompress does here what would take a guest long, and what not every kernel can.
func uncompress(ctx context.Context, dir string) error {
	args := []string{"unxz"}
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if strings.HasSuffix(name, ".xz") {
			args = append(args, name)
		}
		return err
	})
	if err != nil || len(args) == 1 {
		return err
	}
	_, err = output(ctx, dir, "busybox", args...)
	return err
}

func first(root string, names ...string) (string, error) {
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(root, name)); err == nil {
			return filepath.Join(root, name), nil
		}
	}
	return "", fmt.Errorf("the packages have none of %s", strings.Join(names, ", "))
}

// pruneModules keeps what a network needs: a guest has no disks, and a small one boots fast.
func pruneModules(dir string) error {
	for _, pattern := range []string{"fs", "sound", "drivers/*", "drivers/net/ethernet"} {
		matches, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		for _, m := range matches {
			if m == filepath.Join(dir, "drivers/net") {
				continue
			}
			if err := os.RemoveAll(m); err != nil {
				return err
			}
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "net")); errors.Is(err, fs.ErrNotExist) {
		return errors.New("the packages have no modules in kernel/net")
	}
	return nil
}
