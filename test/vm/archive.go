package main

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// archive writes an initramfs: a cpio archive in the newc format (Documentation/driver-api/early-userspace/
// buffer-format.rst of the kernel), uncompressed because unpacking takes longer than reading in an emulated machine.
// Paths are absolute. Directories come by themselves, and what is already there is not added again.
type archive struct {
	w       *bufio.Writer
	err     error // the first one; it is told by close
	entries uint32
	have    map[string]bool
}

func newArchive(w io.Writer) *archive {
	return &archive{w: bufio.NewWriterSize(w, 1<<20), have: map[string]bool{"/": true}}
}

// Types of files in cpio, as in stat's st_mode.
const (
	cpioDirectory = 0o040000
	cpioFile      = 0o100000
	cpioSymlink   = 0o120000
)

func (a *archive) entry(name string, mode uint32, size int64, content io.Reader) {
	if a.err != nil {
		return
	}
	a.entries++
	const links, noTime, device = 1, 0, 0
	header := "070701"
	for _, field := range []uint32{
		a.entries, mode, 0, 0, links, noTime, uint32(size), device, device, device, device, uint32(len(name) + 1), 0,
	} {
		header += fmt.Sprintf("%08X", field)
	}
	a.padded(header + name + "\x00")
	n, err := io.Copy(a.w, content)
	if a.err == nil {
		a.err = err
	}
	if a.err == nil && n != size {
		a.err = fmt.Errorf("%s: %d bytes, then %d", name, size, n)
	}
	a.pad(size)
}

func (a *archive) padded(s string) {
	if _, err := a.w.WriteString(s); a.err == nil {
		a.err = err
	}
	a.pad(int64(len(s)))
}

func (a *archive) pad(size int64) {
	if _, err := a.w.WriteString("\x00\x00\x00"[:(4-size%4)%4]); a.err == nil {
		a.err = err
	}
}

// has tells whether a file is there.
func (a *archive) has(name string) bool { return a.have[name] }

// missing notes that name is there from now on, and makes its directories.
func (a *archive) missing(name string) bool {
	if a.have[name] {
		return false
	}
	a.have[name] = true
	a.directory(path.Dir(name))
	return true
}

func (a *archive) directory(name string) {
	if a.missing(name) {
		a.entry(strings.TrimPrefix(name, "/"), cpioDirectory|0o755, 0, strings.NewReader(""))
	}
}

func (a *archive) symlink(name, target string) {
	if a.missing(name) {
		a.entry(strings.TrimPrefix(name, "/"), cpioSymlink|0o777, int64(len(target)), strings.NewReader(target))
	}
}

func (a *archive) text(name string, mode uint32, content string) {
	if a.missing(name) {
		a.entry(strings.TrimPrefix(name, "/"), cpioFile|mode, int64(len(content)), strings.NewReader(content))
	}
}

// file adds a file of this machine.
func (a *archive) file(name, source string) error {
	if !a.missing(name) {
		return nil
	}
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a regular file", source)
	}
	a.entry(strings.TrimPrefix(name, "/"), cpioFile|uint32(info.Mode().Perm()), info.Size(), f)
	return a.err
}

// tree adds a directory of this machine with all that is in it; symbolic links are followed.
func (a *archive) tree(name, source string) error {
	return filepath.WalkDir(source, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := path.Join(name, filepath.ToSlash(strings.TrimPrefix(p, source)))
		if d.IsDir() {
			a.directory(to)
			return nil
		}
		return a.file(to, p)
	})
}

func (a *archive) close() error {
	a.entry("TRAILER!!!", 0, 0, strings.NewReader(""))
	if a.err != nil {
		return fmt.Errorf("write initramfs: %w", a.err)
	}
	if err := a.w.Flush(); err != nil {
		return fmt.Errorf("write initramfs: %w", err)
	}
	return nil
}
