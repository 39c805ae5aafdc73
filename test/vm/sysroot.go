package main

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// sysroot is a tree of Debian's with the programs that a guest takes: this machine's own, or, for another architecture, one of
// unpacked packages. Names in it are as a program that runs there would use them.
type sysroot string

// toolSuite has the tools of other architectures, and toolPackages those packages of which tools and data come.
const toolSuite = "bookworm"

var toolPackages = []string{"bash", "busybox", "iproute2", "nftables", "iptables", "iputils-ping", "util-linux", "netbase"}

// sysrootFor is where programs for an architecture are.
func sysrootFor(ctx context.Context, arch, cache string) (sysroot, error) {
	if arch == runtime.GOARCH {
		return "/", nil
	}
	dir := filepath.Join(cache, "tools-"+arch)
	err := keep(ctx, dir, func(work, done string) error {
		say("fetching tools for %s into %s", arch, dir)
		a, err := newApt(ctx, work, arch, []string{toolSuite})
		if err != nil {
			return err
		}
		if err := a.unpackAll(ctx, toolPackages, done); err != nil {
			return err
		}
		// Which one it is Debian's packages choose as they are installed.
		for _, name := range []string{"iptables", "ip6tables"} {
			if err := os.Symlink("xtables-nft-multi", filepath.Join(done, "usr/sbin", name)); err != nil {
				return err
			}
		}
		return nil
	})
	return sysroot(dir), err
}

// find looks for a program where a shell would.
func (s sysroot) find(name string) (string, error) {
	return s.first(name, "/usr/local/sbin", "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")
}

// first is the name of a file in the first of some directories that has it.
func (s sysroot) first(name string, dirs ...string) (string, error) {
	for _, dir := range dirs {
		if info, err := os.Stat(s.path(filepath.Join(dir, name))); err == nil && info.Mode().IsRegular() {
			return filepath.Join(dir, name), nil
		}
	}
	return "", fmt.Errorf("there is no %s in %s: run hack/install-packages guest", name, s)
}

// path is a file's for programs of this machine.
func (s sysroot) path(name string) string { return filepath.Join(string(s), name) }

// addProgram adds a program and the shared libraries that it needs.
func (s sysroot) addProgram(a *archive, name string) error {
	if err := s.addResolved(a, name); err != nil {
		return err
	}
	f, err := elf.Open(s.path(name))
	if err != nil {
		return err
	}
	defer f.Close()
	if section := f.Section(".interp"); section != nil {
		interpreter, err := io.ReadAll(section.Open())
		if err != nil {
			return err
		}
		if err := s.addResolved(a, strings.TrimRight(string(interpreter), "\x00")); err != nil {
			return err
		}
	}
	libraries, err := f.ImportedLibraries()
	if err != nil && !errors.Is(err, elf.ErrNoSymbols) {
		return err
	}
	triplet := triplets[f.Machine]
	for _, library := range libraries {
		file, err := s.first(library, "/lib/"+triplet, "/usr/lib/"+triplet, "/lib64", "/lib", "/usr/lib", "/usr/local/lib")
		if err != nil {
			return err
		}
		if a.has(file) {
			continue
		}
		if err := s.addProgram(a, file); err != nil {
			return err
		}
	}
	return nil
}

// triplets are parts of the paths of Debian's libraries.
var triplets = map[elf.Machine]string{elf.EM_X86_64: "x86_64-linux-gnu", elf.EM_AARCH64: "aarch64-linux-gnu"}

// addResolved adds what a name means, under its real path, and the name as a link to it.
func (s sysroot) addResolved(a *archive, name string) error {
	real, err := s.resolve(name)
	if err != nil {
		return err
	}
	dir, err := s.resolve(filepath.Dir(name))
	if err != nil {
		return err
	}
	if err := a.file(real, s.path(real)); err != nil {
		return err
	}
	if alias := filepath.Join(dir, filepath.Base(name)); alias != real {
		a.symlink(alias, real)
	}
	return nil
}

// resolve follows symbolic links.
func (s sysroot) resolve(name string) (string, error) {
	real, err := filepath.EvalSymlinks(s.path(name))
	if err != nil {
		return "", err
	}
	inside, err := filepath.Rel(string(s), real)
	if err != nil || strings.HasPrefix(inside, "..") {
		return "", fmt.Errorf("%s leads out of %s, to %s", name, s, real)
	}
	return "/" + inside, nil
}
