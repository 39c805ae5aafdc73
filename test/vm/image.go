package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// image is a kernel as unpacked in the cache.
type image struct {
	dir     string // holds vmlinuz, and lib/modules with modules.dep
	release string // as uname -r says it
}

func (i image) vmlinuz() string { return filepath.Join(i.dir, "vmlinuz") }

// cached is the image in a cache directory, false if there is none.
func cached(dir string) (image, bool) {
	if _, err := os.Stat(filepath.Join(dir, "vmlinuz")); err != nil {
		return image{}, false
	}
	releases, err := filepath.Glob(filepath.Join(dir, "lib/modules/*"))
	if err != nil || len(releases) != 1 {
		return image{}, false
	}
	return image{dir, filepath.Base(releases[0])}, true
}

// fetch gives a kernel from the cache, or from the mirror through the cache.
func fetch(ctx context.Context, k kernel, cache string, say func(string, ...any)) (image, error) {
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return image{}, err
	}
	unlock, err := lock(filepath.Join(cache, k.name+".lock"))
	if err != nil {
		return image{}, err
	}
	defer unlock()
	dir := filepath.Join(cache, k.name)
	if i, ok := cached(dir); ok {
		return i, nil
	}
	say("fetching kernel %s into %s", k.name, dir)
	left, err := filepath.Glob(filepath.Join(cache, k.name+"-*")) // by runs that were killed
	if err != nil {
		return image{}, err
	}
	for _, l := range left {
		if err := os.RemoveAll(l); err != nil {
			return image{}, err
		}
	}
	work, err := os.MkdirTemp(cache, k.name+"-")
	if err != nil {
		return image{}, err
	}
	defer os.RemoveAll(work)
	a, err := newApt(ctx, work, k.suites)
	if err != nil {
		return image{}, err
	}
	name, err := a.newest(ctx, k.pattern)
	if err != nil {
		return image{}, err
	}
	release := strings.TrimPrefix(name, "linux-image-")
	names, err := a.parts(ctx, name, release)
	if err != nil {
		return image{}, err
	}
	say("fetching %s", strings.Join(names, ", "))
	root, done := filepath.Join(work, "root"), filepath.Join(work, "done")
	if err := a.unpack(ctx, names, root); err != nil {
		return image{}, err
	}
	if err := arrange(ctx, root, done, release); err != nil {
		return image{}, fmt.Errorf("prepare kernel %s: %w", release, err)
	}
	// In one step, so that an interrupted run leaves nothing that looks complete.
	if err := errors.Join(os.RemoveAll(dir), os.Rename(done, dir)); err != nil {
		return image{}, err
	}
	i, ok := cached(dir)
	if !ok {
		return image{}, fmt.Errorf("no kernel in %s after fetching it", dir)
	}
	return i, nil
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

// lock waits until no other run uses what the file stands for.
func lock(name string) (unlock func(), err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX); err != nil {
		f.Close()
		return nil, fmt.Errorf("lock %s: %w", name, err)
	}
	return func() { f.Close() }, nil
}
