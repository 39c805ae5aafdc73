package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	inprocess "github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"helm.sh/helm/v4/pkg/registry"

	"tracer/tools/chart"
	"tracer/tools/ociimage"
	"tracer/tools/tarfile"
)

// TestMain has this program trust the servers with TLS that tests start.
func TestMain(m *testing.M) {
	server := httptest.NewTLSServer(http.NotFoundHandler())
	server.Close()
	file, err := os.CreateTemp("", "tracer-push-test-")
	if err == nil {
		err = pem.Encode(file, &pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	}
	if err != nil {
		log.Fatal(err)
	}
	os.Setenv("SSL_CERT_FILE", file.Name())
	code := m.Run()
	os.Remove(file.Name())
	os.Exit(code)
}

// TestPush pushes a release to registries, one of them with TLS, and pulls back what it was.
func TestPush(t *testing.T) {
	dir := t.TempDir()
	index, err := ociimage.Pack(ociimage.Config{Entrypoint: "/tracer", Version: "v0.1.0"}, []ociimage.Root{
		{Arch: "amd64", Files: []tarfile.File{{Name: "tracer", Executable: true, Data: []byte("one")}}},
		{Arch: "arm64", Files: []tarfile.File{{Name: "tracer", Executable: true, Data: []byte("other")}}},
	})
	check(t, err)
	digest, err := index.Digest()
	check(t, err)
	check(t, ociimage.WriteArchive(index, "registry.example/tracer", "v0.1.0", filepath.Join(dir, "tracer_0.1.0_image.tar")))
	c, err := chart.Load("../../deploy/helm/tracer", chart.Release{
		Version: "v0.1.0", Time: time.Unix(1790000000, 0), Repository: "registry.example/tracer", Digest: digest.String(),
	})
	check(t, err)
	packed, err := chart.Save(c, dir)
	check(t, err)
	want, err := os.ReadFile(packed)
	check(t, err)

	var first pushed
	for i, start := range []func(http.Handler) *httptest.Server{httptest.NewServer, httptest.NewTLSServer} {
		server := start(emptyRegistry())
		defer server.Close()
		scheme, host, _ := strings.Cut(server.URL, "://")
		result, err := push(t.Context(), dir, host+"/team")
		check(t, err)

		tag, err := name.NewTag(host + "/team/tracer:v0.1.0")
		check(t, err)
		pulled, err := remote.Index(tag)
		check(t, err)
		manifest, err := pulled.IndexManifest()
		check(t, err)
		if got, err := pulled.Digest(); err != nil || got != digest || result.image != host+"/team/tracer@"+digest.String() || len(manifest.Manifests) != 2 {
			t.Errorf("the image is %v with %d architectures, said to be %s; want %v: %v", got, len(manifest.Manifests), result.image, digest, err)
		}

		var options []registry.ClientOption
		plainHTTP := ""
		if scheme == "http" {
			options, plainHTTP = append(options, registry.ClientOptPlainHTTP()), " --plain-http"
		}
		client, err := registry.NewClient(options...)
		check(t, err)
		chart, err := client.Pull(host + "/team/charts/tracer:0.1.0")
		check(t, err)
		if !bytes.Equal(chart.Chart.Data, want) || result.chart != host+"/team/charts/tracer@"+chart.Manifest.Digest {
			t.Errorf("the chart is another, %s, said to be %s", chart.Manifest.Digest, result.chart)
		}
		if wanted := "helm install tracer oci://" + host + "/team/charts/tracer --version 0.1.0 --namespace tracer --create-namespace --wait" + plainHTTP +
			" --set image.repository=" + host + "/team/tracer"; result.install != wanted {
			t.Errorf("it is installed by %s", result.install)
		}
		// Wherever and whenever it is pushed to, the chart has one digest, as the image has.
		result.chart = strings.TrimPrefix(result.chart, host)
		if i == 1 && result.chart != first.chart {
			t.Errorf("the chart is %s there and %s here", first.chart, result.chart)
		}
		first = result
	}
}

func TestNothingToPush(t *testing.T) {
	if _, err := push(t.Context(), t.TempDir(), "registry.example"); err == nil || !strings.Contains(err.Error(), "make release") {
		t.Errorf("an empty directory: %v", err)
	}
	if _, err := push(t.Context(), t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "REGISTRY=") {
		t.Errorf("no registry: %v", err)
	}
	for _, to := range []string{"docker.io/library", "index.docker.io/team", "team"} {
		if _, err := push(t.Context(), t.TempDir(), to); err == nil || !strings.Contains(err.Error(), "Docker Hub") {
			t.Errorf("to %s: %v", to, err)
		}
	}
}

// TestNotTrusted: what has TLS is never asked without, be its certificate as it may.
func TestNotTrusted(t *testing.T) {
	certificate, key := newCertificate(t)
	server := httptest.NewUnstartedServer(emptyRegistry())
	server.TLS = &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{certificate}, PrivateKey: key}}}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	defer server.Close()
	repository, err := name.NewRepository(strings.TrimPrefix(server.URL, "https://") + "/team")
	check(t, err)
	if plain, err := isPlainHTTP(t.Context(), repository.Registry); plain || err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without TLS: %v, %v", plain, err)
	}
	// Nor is one of which we know nothing but that it is elsewhere.
	if repository, err = name.NewRepository("registry.example/team"); err != nil {
		t.Fatal(err)
	}
	if plain, err := isPlainHTTP(t.Context(), repository.Registry); plain || err != nil {
		t.Errorf("elsewhere, without TLS: %v, %v", plain, err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://127.0.0.1/v2/", nil)
	check(t, err)
	if _, err := transport(false).RoundTrip(request); err == nil || !strings.Contains(err.Error(), "this is without") {
		t.Errorf("sent without TLS: %v", err)
	}
}

// TestMake: the registry that a release is for by default is none to push to.
func TestMake(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{{nil, "-registry ''"}, {[]string{"REGISTRY=registry.example/team"}, "-registry 'registry.example/team'"}} {
		command := exec.CommandContext(t.Context(), "env", append([]string{"-u", "REGISTRY", "-u", "MAKEFLAGS", "make", "-C", "../..", "-n", "push"}, c.args...)...)
		if out, err := command.CombinedOutput(); err != nil || !strings.Contains(string(out), c.want) {
			t.Errorf("make push %q runs %s, not %s: %v", c.args, out, c.want, err)
		}
	}
}

func emptyRegistry() http.Handler { return inprocess.New(inprocess.Logger(log.New(io.Discard, "", 0))) }

// newCertificate makes one of which nobody knows.
func newCertificate(t *testing.T) ([]byte, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	check(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	check(t, err)
	return certificate, key
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
