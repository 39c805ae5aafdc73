package k8srig

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Fabric is this side's address in the network that nodes are joined to: the control plane's.
const Fabric = "10.200.0.254"

// Registry is the address at which nodes look for a registry without TLS, where a test starts one.
const Registry = Fabric + ":5000"

// inside marks the process that runs in namespaces of its own.
const inside = "K8SRIG_INSIDE"

// cgroupsOf is a variable with the name of the cgroups below which a run's nodes run.
const cgroupsOf = "K8SRIG_CGROUPS"

// cgroups is that name, in every hierarchy. Each run has its own: a kubelet ends pods that it finds there and does not know.
func cgroups() string { return os.Getenv(cgroupsOf) }

// newCgroups is a name for them, of the form that test/cgroup has: test/run removes those of a run that was killed.
func newCgroups() (string, error) {
	of := os.Getenv("TRACER_TEST_GROUPS")
	if of == "" {
		namespace, err := os.Readlink("/proc/self/ns/pid")
		if err != nil {
			return "", err
		}
		of = fmt.Sprintf("%s-%d", strings.Trim(namespace, "pid:[]"), os.Getpid())
	}
	return fmt.Sprintf("tracer-test-%s-k8srig-%d", of, os.Getpid()), nil
}

// Isolated tells whether this process is one that Isolate started.
func Isolated() bool { return os.Getenv(inside) != "" }

// Isolate runs this program again in namespaces of its own (network, mounts, processes, host name), in which main is
// called. Whatever is started there ends with it, however it ends: the kernel kills a process namespace with its first
// process.
func Isolate(main func() int) int {
	if Isolated() {
		if err := setUpNamespaces(); err != nil {
			fmt.Fprintln(os.Stderr, "k8srig: prepare the namespaces:", err)
			return 1
		}
		return main()
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, "k8srig:", err)
		return 1
	}
	own, err := newCgroups()
	if err != nil {
		fmt.Fprintln(os.Stderr, "k8srig:", err)
		return 1
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), inside+"=1", cgroupsOf+"="+own)
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
		Pdeathsig:  unix.SIGKILL,
	}
	// An interrupt ends the tests inside, and so does the end of the terminal, without nohup; we stay for their cgroups.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, unix.SIGTERM)
	if !signal.Ignored(unix.SIGHUP) {
		signal.Notify(interrupts, unix.SIGHUP)
	}
	err = cmd.Start()
	if err == nil {
		go func() {
			for range interrupts {
				_ = cmd.Process.Kill() // and with it all in its process namespace
			}
		}()
		err = cmd.Wait()
	}
	removeCgroups(own)
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	} else if err != nil {
		fmt.Fprintln(os.Stderr, "k8srig: start in namespaces of its own, as root:", err)
		return 1
	}
	return 0
}

// setUpNamespaces makes the new namespaces usable: mounts that stay inside, this namespace's /proc, and a network.
func setUpNamespaces() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, ""); err != nil {
		return fmt.Errorf("mount /run: %w", err)
	}
	for _, args := range []string{
		"link set lo up",
		"link add fabric type bridge",
		"addr add " + Fabric + "/24 dev fabric",
		"link set fabric up",
	} {
		if err := run(exec.Command("ip", strings.Fields(args)...)); err != nil {
			return err
		}
	}
	return os.Setenv("KUBECACHEDIR", "/run/kube-cache") // what kubectl and helm keep of a server, by its address
}

// removeCgroups removes what nodes left, as soon as their processes are gone.
func removeCgroups(name string) {
	for range 50 {
		roots, _ := filepath.Glob("/sys/fs/cgroup/*/" + name)
		roots = append(roots, "/sys/fs/cgroup/"+name)
		left := false
		for _, root := range roots {
			var dirs []string
			_ = filepath.WalkDir(root, func(path string, d os.DirEntry, err error) error {
				if err == nil && d.IsDir() {
					dirs = append(dirs, path)
				}
				return nil
			})
			for i := len(dirs) - 1; i >= 0; i-- {
				if err := os.Remove(dirs[i]); err != nil {
					left = true
				}
			}
		}
		if !left {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// hierarchies are the mounted cgroup hierarchies; of cgroup v2 alone it is the one.
func hierarchies() []string {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/cgroup.procs")
	for i := range dirs {
		dirs[i] = strings.TrimSuffix(dirs[i], "/cgroup.procs")
	}
	return dirs
}

// hierarchyV2 is where cgroup v2 is mounted, alone or beside the hierarchies of v1.
func hierarchyV2() (string, bool) {
	for _, dir := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified"} {
		var s unix.Statfs_t
		if err := unix.Statfs(dir, &s); err == nil && s.Type == unix.CGROUP2_SUPER_MAGIC {
			return dir, true
		}
	}
	return "", false
}
