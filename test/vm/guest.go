package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
)

//go:embed init
var initScript string

// tools are the programs that tests and people call in a guest. busybox does the rest.
var tools = []string{
	"bash", "busybox", "ip", "bridge", "tc", "ss", "nstat", "nft", "iptables", "ip6tables", "iptables-legacy", "ip6tables-legacy", "ping", "flock",
}

// data is what those read by name.
var data = []string{"/usr/lib/*/xtables", "/usr/lib/tc", "/etc/protocols", "/etc/services", "/etc/iproute2"}

// modprobe is where the kernel looks for it. One at a time: busybox, unlike kmod, takes a module that another one is
// just loading for a failure.
const modprobe = "#!/usr/bin/busybox sh\nexec /usr/bin/flock /modprobe.lock /usr/bin/busybox modprobe \"$@\"\n"

// guest is the content of a machine's initramfs.
type guest struct {
	image   image
	sysroot sysroot // of its programs
	job     job
}

// write makes the initramfs.
func (g guest) write(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	a := newArchive(f)
	for _, dir := range []string{"bin", "sbin", "lib", "lib64"} {
		a.directory("/usr/" + dir)
		a.symlink("/"+dir, "usr/"+dir)
	}
	a.text("/init", 0o755, initScript)
	a.text("/etc/passwd", 0o644, "root:x:0:0:root:/root:/usr/bin/bash\n")
	a.text("/etc/group", 0o644, "root:x:0:\n")
	a.text("/etc/hosts", 0o644, "127.0.0.1 localhost guest\n::1 localhost\n")
	if err := g.addTools(a); err != nil {
		return err
	}
	modules := filepath.Join("/lib/modules", g.image.release)
	if err := a.tree("/usr"+modules, filepath.Join(g.image.dir, modules)); err != nil {
		return err
	}
	for _, b := range g.job.suite {
		if err := b.add(a); err != nil {
			return err
		}
	}
	for _, program := range g.job.programs {
		if err := a.file("/usr/local/bin/"+filepath.Base(program), program); err != nil {
			return err
		}
	}
	if g.job.script == "" {
		a.text("/shell", 0o644, "")
	} else {
		a.text("/job", 0o755, g.job.script)
		a.text("/limit", 0o644, fmt.Sprintf("%.0f\n", g.job.limit.Seconds()))
	}
	if err := a.close(); err != nil {
		return err
	}
	return f.Close()
}

func (g guest) addTools(a *archive) error {
	for _, tool := range tools {
		file, err := g.sysroot.find(tool)
		if err != nil {
			return err
		}
		if err := g.sysroot.addProgram(a, file); err != nil {
			return fmt.Errorf("take %s into the guest: %w", tool, err)
		}
	}
	a.symlink("/usr/bin/sh", "bash")
	a.text("/usr/sbin/modprobe", 0o755, modprobe)
	for _, pattern := range data {
		matches, err := filepath.Glob(g.sysroot.path(pattern))
		if err != nil {
			return err
		}
		for _, m := range matches {
			name, err := filepath.Rel(string(g.sysroot), m)
			if err != nil {
				return err
			}
			if err := a.tree("/"+name, m); err != nil {
				return fmt.Errorf("take %s into the guest: %w", m, err)
			}
		}
	}
	return nil
}
