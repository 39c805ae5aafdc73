package cni

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// bpfObject is a program, map or link, by its number and the command of bpf(2) that opens it by that.
type bpfObject struct {
	kind string
	open uintptr
	id   uint32
}

// held are the objects that the agents have open.
func (c *cluster) held(t *testing.T) (all []bpfObject) {
	t.Helper()
	kinds := map[string]uintptr{"prog_id": bpfProgGetFDByID, "map_id": 14, "link_id": 30}
	seen := map[bpfObject]bool{}
	for _, pid := range c.agents() {
		files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fdinfo/*", pid))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range files {
			file, err := os.Open(name)
			if err != nil {
				continue // closed since it was listed
			}
			for lines := bufio.NewScanner(file); lines.Scan(); {
				kind, value, _ := strings.Cut(lines.Text(), ":")
				id, err := strconv.ParseUint(strings.TrimSpace(value), 10, 32)
				object := bpfObject{kind, kinds[kind], uint32(id)}
				if object.open != 0 && err == nil && !seen[object] {
					seen[object] = true
					all = append(all, object)
				}
			}
			file.Close()
		}
	}
	if len(all) == 0 {
		t.Fatal("agents have nothing in the kernel")
	}
	return all
}

// stillThere says which of them the kernel still has.
func stillThere(objects []bpfObject) error {
	for _, o := range objects {
		byID := struct{ id, next, flags uint32 }{id: o.id}
		fd, _, errno := unix.Syscall(unix.SYS_BPF, o.open, uintptr(unsafe.Pointer(&byID)), unsafe.Sizeof(byID))
		if errno == unix.ENOENT {
			continue
		}
		if errno != 0 {
			return fmt.Errorf("open %s %d: %w", o.kind, o.id, errno)
		}
		unix.Close(int(fd))
		return fmt.Errorf("%s %d is still there", o.kind, o.id)
	}
	return nil
}
