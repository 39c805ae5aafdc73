// Package cni runs the agent beside network plugins that others wrote, on the real Kubernetes of package k8srig. With -short it leaves out
// what is much the same whoever connects pods: policies, limits, and lists of plugins that are written anew.
package cni

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"tracer/test/k8srig"
)

// programs are what the tests run besides Kubernetes, each out of a module of its own.
type programs struct {
	flannel string // folder of flanneld and of the reference plugins
	plugin  string // folder of flannel's plugin
	aws     string // folder of AWS's plugin, and of what stands for its daemon
	dns     string // folder of CoreDNS
}

func TestMain(m *testing.M) {
	k8srig.MainOfNode()
	// Before there is no network.
	if !k8srig.Isolated() {
		err := os.Chdir("..") // where k8srig finds its sources
		if err == nil {
			_, err = k8srig.Fetch(context.Background())
		}
		if err == nil {
			_, err = fetch(context.Background())
		}
		if err == nil && playsCilium() {
			_, err = fetchCilium(context.Background())
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "cni:", err)
			os.Exit(1)
		}
	}
	os.Exit(k8srig.Isolate(m.Run))
}

// fetch builds what is not in the cache yet.
func fetch(ctx context.Context) (p programs, err error) {
	for module, dir := range map[string]*string{"flannel": &p.flannel, "flannel-plugin": &p.plugin, "aws": &p.aws} {
		if *dir, err = k8srig.Binaries(ctx, filepath.Join("cni", module)); err != nil {
			return p, err
		}
	}
	p.dns, err = k8srig.StaticBinaries(ctx, filepath.Join("cni", "coredns"))
	return p, err
}
