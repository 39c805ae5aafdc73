package k8srig

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// sysctls are what the kubelet sets, and Cilium; copies are put in their place, so that the machine keeps its own.
var sysctls = [...]string{"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
	"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes", "kernel/timer_migration", "kernel/unprivileged_bpf_disabled"}

// ownDirs are a node's own, where programs write by paths that nothing configures.
var ownDirs = [...]string{"/run", "/var/lib/kubelet", "/var/lib/cni", "/var/lib/tracer", "/var/log", "/opt", "/etc/cni"}

// MainOfNode does not return if this process is a node's first: main calls it before anything else.
func MainOfNode() {
	if len(os.Args) > 2 && os.Args[1] == nodeArgument {
		fmt.Fprintln(os.Stderr, runNode(os.Args[2:]))
		os.Exit(1)
	}
}

// runNode is a node's first process. It returns when one of the node's programs ends.
func runNode(args []string) error {
	kubernetes, dir, name, address, images := args[0], args[1], args[2], args[3], args[4:]
	if err := prepareMachine(dir, name); err != nil {
		return fmt.Errorf("prepare the node: %w", err)
	}
	const socket = "/run/containerd/containerd.sock"
	containerd, err := Start("containerd", dir, exec.Command("containerd", "--config", filepath.Join(dir, "containerd.toml")))
	if err != nil {
		return err
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		err := run(exec.Command("ctr", "--address", socket, "version"))
		if err == nil {
			break
		} else if time.Now().After(end) {
			return fmt.Errorf("start containerd: %w\n%s", err, containerd.tail())
		}
	}
	for _, image := range images {
		if err := run(exec.Command("ctr", "--address", socket, "--namespace", "k8s.io", "images", "import", image)); err != nil {
			return err
		}
	}
	programs := []*Process{containerd}
	flags := map[string][]string{
		"kubelet": {"--config=" + filepath.Join(dir, "kubelet.yaml"), "--kubeconfig=" + filepath.Join(dir, "kubelet.kubeconfig"),
			"--root-dir=" + filepath.Join(dir, "kubelet"), "--cert-dir=" + filepath.Join(dir, "kubelet-pki"),
			"--hostname-override=" + name, "--node-ip=" + address},
	}
	if config := filepath.Join(dir, proxyFile); exists(config) {
		flags["kube-proxy"] = []string{"--config=" + config}
	}
	for program, flags := range flags {
		p, err := Start(program, dir, exec.Command(kubernetes, append([]string{program}, flags...)...))
		if err != nil {
			return err
		}
		programs = append(programs, p)
	}
	ended := make(chan *Process)
	for _, p := range programs {
		go func() { <-p.done; ended <- p }()
	}
	p := <-ended
	return fmt.Errorf("%s ended: %v\n%s", p.Name, p.err, p.tail())
}

// prepareMachine makes the namespaces look like a machine.
func prepareMachine(dir, name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	for _, s := range sysctls {
		path := filepath.Join("/proc/sys", s)
		value, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		shadow := filepath.Join(dir, "sysctl-"+filepath.Base(s))
		if err := os.WriteFile(shadow, value, 0o644); err != nil {
			return err
		}
		if err := unix.Mount(shadow, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("shadow %s: %w", path, err)
		}
	}
	for _, d := range ownDirs {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("tmpfs", d, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("mount %s: %w", d, err)
		}
	}
	if err := unix.Mount("bpf", "/sys/fs/bpf", "bpf", 0, ""); err != nil {
		return fmt.Errorf("mount /sys/fs/bpf: %w", err)
	}
	for _, d := range []string{"/run/netns", "/run/containerd"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	if err := makeCgroups(name); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if exists(filepath.Join(dir, joined)) {
			break
		} else if time.Now().After(end) {
			return fmt.Errorf("the node was not joined to the network")
		}
	}
	return run(exec.Command("sysctl", "-qw", "net.ipv4.ip_forward=1"))
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// makeCgroups makes the node's cgroup in every hierarchy. A cpuset takes processes only once it has CPUs. In cgroup v2, where
// BPF programs are attached, all of the node's processes are below it.
func makeCgroups(name string) error {
	for _, h := range hierarchies() {
		parent := h
		for _, part := range []string{cgroups(), name} {
			d := filepath.Join(parent, part)
			if err := os.MkdirAll(d, 0o755); err != nil {
				return fmt.Errorf("make cgroups: %w", err)
			}
			for _, file := range []string{"cpuset.cpus", "cpuset.mems"} {
				value, err := os.ReadFile(filepath.Join(parent, file))
				if err != nil || len(strings.TrimSpace(string(value))) == 0 {
					continue
				}
				if err := os.WriteFile(filepath.Join(d, file), value, 0o644); err != nil {
					return fmt.Errorf("make cgroups: %w", err)
				}
			}
			parent = d
		}
	}
	if h, ok := hierarchyV2(); ok {
		own := filepath.Join(h, cgroups(), name, "system")
		if err := os.MkdirAll(own, 0o755); err != nil {
			return fmt.Errorf("make cgroups: %w", err)
		}
		return os.WriteFile(filepath.Join(own, "cgroup.procs"), []byte("0"), 0)
	}
	return nil
}
