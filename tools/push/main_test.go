package main

import (
	"bytes"
	"io"
	"log"
	"net/http/httptest"
	"os"
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

// TestPush pushes a release to a registry and pulls back what it was.
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
	for i := range 2 {
		server := httptest.NewServer(inprocess.New(inprocess.Logger(log.New(io.Discard, "", 0))))
		defer server.Close()
		host := strings.TrimPrefix(server.URL, "http://")
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

		client, err := registry.NewClient(registry.ClientOptPlainHTTP())
		check(t, err)
		chart, err := client.Pull(host + "/team/charts/tracer:0.1.0")
		check(t, err)
		if !bytes.Equal(chart.Chart.Data, want) || result.chart != host+"/team/charts/tracer@"+chart.Manifest.Digest {
			t.Errorf("the chart is another, %s, said to be %s", chart.Manifest.Digest, result.chart)
		}
		if wanted := "helm install tracer oci://" + host + "/team/charts/tracer --version 0.1.0 --namespace tracer --create-namespace --wait" +
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
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
