package cni

import (
	_ "embed"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"tracer/test/k8srig"
)

//go:embed dns.yaml
var dnsYAML string

// dnsImage is the archive of CoreDNS's image.
func dnsImage(t *testing.T) string {
	t.Helper()
	p, err := fetch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(filepath.Join(p.dns, "coredns"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	files := filepath.Join(dir, runtime.GOARCH)
	if err := os.Mkdir(files, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(files, "coredns"), program, 0o755); err != nil {
		t.Fatal(err)
	}
	archive, err := k8srig.Image(t.Context(), dir, "coredns", "coredns", files)
	if err != nil {
		t.Fatal(err)
	}
	return archive
}

// startDNS starts CoreDNS as the Service that pods ask for names.
func startDNS(t *testing.T, c *cluster) {
	t.Helper()
	c.apply(t, dnsYAML)
	c.kubectl(t, "-n kube-system rollout status deployment/coredns --timeout=300s")
}
