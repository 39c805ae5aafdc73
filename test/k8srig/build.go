// Package k8srig runs a real Kubernetes on this machine, out of its own source and Debian's containerd, without root
// filesystems, virtual machines or a registry: a control plane, and nodes that are namespaces.
package k8srig

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// kubernetesVersion is that of go.mod; kubectl and helm want to know it.
const kubernetesVersion = "1.37.2"

// compile makes a quick job of it: what nobody debugs, and nobody waits for once it runs, needs no symbols and no inlining.
// The Makefile compiles the tests in the same way, so that they share the cache.
const compile = "all=-dwarf=false -l"

// packages are Debian's, unpacked beside and not installed.
var packages = [...]string{"containerd", "runc", "containernetworking-plugins", "libseccomp2"}

// Tools are the programs that a cluster is made of.
type Tools struct {
	Kubernetes string // all of Kubernetes, kubectl and helm in one binary
	Debian     string // root of the unpacked packages
}

// Fetch builds and downloads what is not in the cache yet: minutes the first time, then nothing. Several may do so at
// once; one works and the others wait.
func Fetch(ctx context.Context) (Tools, error) {
	dir, unlock, err := lockCache("k8s")
	if err != nil {
		return Tools{}, err
	}
	defer unlock()
	t := Tools{Debian: filepath.Join(dir, "debian")}
	if t.Kubernetes, err = build(ctx, dir); err != nil {
		return Tools{}, err
	}
	return t, unpack(ctx, t.Debian)
}

// build compiles Kubernetes, unless the cache has it of this very source. The flags are fixed, and no part of the cache's
// key: others change how it is built and not what it does, which is no reason to compile all of it again.
func build(ctx context.Context, dir string) (string, error) {
	sum := sha256.New()
	for _, file := range []string{"go.mod", "go.sum", "cmd/kubernetes/main.go"} {
		data, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		sum.Write(data)
	}
	binary := filepath.Join(dir, fmt.Sprintf("kubernetes-%s-%.8x", kubernetesVersion, sum.Sum(nil)))
	if used(binary) {
		return binary, nil
	}
	const v = "-X k8s.io/component-base/version."
	major, rest, _ := strings.Cut(kubernetesVersion, ".")
	minor, _, _ := strings.Cut(rest, ".")
	flags := "-s -w " + v + "gitVersion=v" + kubernetesVersion + " " + v + "gitMajor=" + major + " " + v + "gitMinor=" + minor +
		" " + v + "gitTreeState=clean " + v + "gitCommit=" + strings.Repeat("0", 40) + " " + v + "buildDate=1970-01-01T00:00:00Z"
	fresh := binary + ".new"
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-gcflags", compile, "-ldflags", flags, "-o", fresh, "./cmd/kubernetes")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false", "GOGC=off", "GOMEMLIMIT=2GiB")
	if err := run(cmd); err != nil {
		return "", fmt.Errorf("build Kubernetes: %w", err)
	}
	if err := prune(filepath.Join(dir, "kubernetes-*-*")); err != nil {
		return "", err
	}
	return binary, os.Rename(fresh, binary)
}

// unpack fetches the packages from the mirror that apt is set up with.
func unpack(ctx context.Context, root string) error {
	if _, err := os.Stat(root); err == nil {
		return nil
	}
	work := root + ".part" // an interrupted run's is gone on with
	fresh := filepath.Join(work, "root")
	if err := os.RemoveAll(fresh); err != nil {
		return err
	}
	if err := os.MkdirAll(work, 0o755); err != nil {
		return err
	}
	debs, err := fetch(ctx, work)
	if err != nil {
		if err := run(exec.CommandContext(ctx, "../../hack/apt-get", "-q", "update")); err != nil {
			return fmt.Errorf("update apt's indexes: %w", err)
		}
		if debs, err = fetch(ctx, work); err != nil {
			return fmt.Errorf("fetch %s (does `apt-get update` work here?): %w", strings.Join(packages[:], ", "), err)
		}
	}
	for deb := range strings.FieldsSeq(debs) {
		if err := run(exec.CommandContext(ctx, "dpkg-deb", "--extract", filepath.Join(work, deb), fresh)); err != nil {
			return fmt.Errorf("unpack %s: %w", deb, err)
		}
	}
	if err := os.Rename(fresh, root); err != nil {
		return err
	}
	return os.RemoveAll(work)
}

// fetch fetches the packages into dir, and returns their files' names.
func fetch(ctx context.Context, dir string) (debs string, err error) {
	return output(exec.CommandContext(ctx, "../../hack/fetch-packages", append([]string{dir, "download"}, packages[:]...)...))
}

// run runs a command; what it prints becomes part of its error.
func run(cmd *exec.Cmd) error {
	_, err := output(cmd)
	return err
}

func output(cmd *exec.Cmd) (string, error) {
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &complaint
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return out.String(), fmt.Errorf("%s: %w\n%s%s", strings.Join(cmd.Args, " "), exit, complaint.String(), out.String())
	}
	return out.String(), err
}
