// Command push pushes the image and the chart of a release to a registry:
//
//	push -registry registry.example/team [-release DIR]
//
// The image goes to REGISTRY/tracer with the version as its tag, the chart to REGISTRY/charts/tracer. Credentials are those of
// "docker login" or "helm registry login". A registry on this machine or in a private network may have no TLS.
package main

import (
	"archive/tar"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/registry"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	to := flag.String("registry", "", "registry, with a path if there is one")
	from := flag.String("release", "../build/release", "directory that the release was made in")
	flag.Parse()
	pushed, err := push(ctx, *from, *to)
	if err != nil {
		fmt.Fprintln(os.Stderr, "push:", err)
		os.Exit(1)
	}
	fmt.Print(pushed)
}

// pushed is what is in the registry now.
type pushed struct {
	image, chart string // references with their digests
	install      string // the command that installs it
}

func (p pushed) String() string {
	return fmt.Sprintf("image    %s\nchart    %s\ninstall  %s\n", p.image, p.chart, p.install)
}

func push(ctx context.Context, from, to string) (pushed, error) {
	if to == "" {
		return pushed{}, errors.New("say where to: REGISTRY=registry.example/team")
	}
	repository, err := name.NewRepository(to + "/charts/tracer")
	if err != nil {
		return pushed{}, err
	}
	if repository.RegistryStr() == name.DefaultRegistry {
		return pushed{}, fmt.Errorf("%s is on Docker Hub, which has no repository %s: its names are of two parts. Take another registry", to, repository.RepositoryStr())
	}
	plainHTTP, err := isPlainHTTP(ctx, repository.Registry)
	if err != nil {
		return pushed{}, fmt.Errorf("reach the registry: %w", err)
	}
	image, err := pushImage(ctx, from, to, plainHTTP)
	if err != nil {
		return pushed{}, fmt.Errorf("push the image: %w", err)
	}
	result, err := pushChart(from, to, plainHTTP)
	if err != nil {
		return pushed{}, fmt.Errorf("push the chart: %w", err)
	}
	result.image = image.String()
	return result, nil
}

// pushImage pushes the image of all architectures and returns its reference by digest.
func pushImage(ctx context.Context, from, to string, plainHTTP bool) (name.Digest, error) {
	file, err := only(from, "tracer_*_image.tar")
	if err != nil {
		return name.Digest{}, err
	}
	dir, err := os.MkdirTemp("", "tracer-push-")
	if err != nil {
		return name.Digest{}, err
	}
	defer os.RemoveAll(dir)
	if err := unpack(file, dir); err != nil {
		return name.Digest{}, err
	}
	index, version, err := readImage(dir)
	if err != nil {
		return name.Digest{}, fmt.Errorf("read %s: %w", file, err)
	}
	digest, err := index.Digest()
	if err != nil {
		return name.Digest{}, err
	}
	tag, err := name.NewTag(to + "/tracer:" + version)
	if err != nil {
		return name.Digest{}, err
	}
	return tag.Digest(digest.String()), remote.WriteIndex(tag, index, remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain),
		remote.WithTransport(transport(plainHTTP)))
}

// readImage reads the image that a layout's outer index names, and its tag.
func readImage(dir string) (v1.ImageIndex, string, error) {
	outer, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, "", err
	}
	manifest, err := outer.IndexManifest()
	if err != nil {
		return nil, "", err
	}
	if len(manifest.Manifests) != 1 {
		return nil, "", fmt.Errorf("it has %d images", len(manifest.Manifests))
	}
	index, err := outer.ImageIndex(manifest.Manifests[0].Digest)
	return index, manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"], err
}

// unpack unpacks the files of an archive.
func unpack(archive, dir string) error {
	file, err := os.Open(archive)
	if err != nil {
		return err
	}
	defer file.Close()
	root, err := os.OpenRoot(dir) // names in the archive lead nowhere else
	if err != nil {
		return err
	}
	defer root.Close()
	for reader := tar.NewReader(file); ; {
		header, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", archive, err)
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		if err := root.MkdirAll(filepath.Dir(header.Name), 0o700); err != nil {
			return err
		}
		data, err := io.ReadAll(reader)
		if err != nil {
			return fmt.Errorf("read %s: %w", archive, err)
		}
		if err := root.WriteFile(header.Name, data, 0o600); err != nil {
			return err
		}
	}
}

// pushChart pushes the chart's package as it is, dated as its files are, so that a chart has one digest wherever it is pushed.
func pushChart(from, to string, plainHTTP bool) (pushed, error) {
	file, err := only(from, "tracer-*.tgz")
	if err != nil {
		return pushed{}, err
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return pushed{}, err
	}
	chart, err := loader.LoadFile(file)
	if err != nil {
		return pushed{}, err
	}
	parsed, err := name.NewRepository(to + "/charts/tracer")
	if err != nil {
		return pushed{}, err
	}
	options := []registry.ClientOption{registry.ClientOptWriter(io.Discard)}
	if plainHTTP {
		options = append(options, registry.ClientOptPlainHTTP())
	}
	client, err := registry.NewClient(options...)
	if err != nil {
		return pushed{}, err
	}
	repository := parsed.Name()
	result, err := client.Push(data, repository+":"+chart.Metadata.Version,
		registry.PushOptCreationTime(chart.ModTime.UTC().Format("2006-01-02T15:04:05Z")))
	if err != nil {
		return pushed{}, err
	}
	install := fmt.Sprintf("helm install tracer oci://%s --version %s --namespace tracer --create-namespace --wait", repository, chart.Metadata.Version)
	if plainHTTP {
		install += " --plain-http"
	}
	image, err := name.NewRepository(to + "/tracer")
	if err != nil {
		return pushed{}, err
	}
	values, _ := chart.Values["image"].(map[string]any)
	if meant := fmt.Sprint(values["repository"]); meant != to+"/tracer" && meant != image.Name() {
		install += " --set image.repository=" + to + "/tracer"
	}
	return pushed{chart: repository + "@" + result.Manifest.Digest, install: install}, nil
}

// only is the one file of a directory that matches.
func only(dir, pattern string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, pattern))
	if err != nil {
		return "", err
	}
	if len(files) != 1 {
		return "", fmt.Errorf("%s has %d files %s, not one: make release VERSION=… first", dir, len(files), pattern)
	}
	return files[0], nil
}
