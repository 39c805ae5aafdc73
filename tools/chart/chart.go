// Package chart makes of the Helm chart's source what is released: a package for one version that names the image by its
// digest, and the manifest for who has no helm.
package chart

import (
	"bytes"
	"fmt"
	"path"
	"path/filepath"
	"strings"
	"time"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	chartutil "helm.sh/helm/v4/pkg/chart/v2/util"
	"helm.sh/helm/v4/pkg/engine"
	releaseutil "helm.sh/helm/v4/pkg/release/v1/util"
)

// Release is what a package is made for.
type Release struct {
	Version     string            // with the v, as images are tagged
	Time        time.Time         // that files have
	Repository  string            // the image's
	Digest      string            // the image's, such as sha256:…
	Annotations map[string]string // beside those of the source
}

// Home is where the project is at home, as the chart's source says.
func Home(dir string) (string, error) {
	metadata, err := chartutil.LoadChartfile(filepath.Join(dir, chartutil.ChartfileName))
	if err != nil {
		return "", fmt.Errorf("read the chart: %w", err)
	}
	return metadata.Home, nil
}

// Load reads the chart's source for a release.
func Load(dir string, r Release) (*chart.Chart, error) {
	c, err := loader.LoadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("read the chart: %w", err)
	}
	c.Metadata.Version = strings.TrimPrefix(r.Version, "v")
	c.Metadata.AppVersion = r.Version
	for name, value := range r.Annotations {
		c.Metadata.Annotations[name] = value
	}
	for _, files := range [][]*common.File{c.Raw, c.Templates, c.Files} {
		for _, file := range files {
			file.ModTime = r.Time
		}
	}
	c.ModTime, c.SchemaModTime = r.Time, r.Time
	for _, file := range c.Raw {
		if file.Name != chartutil.ValuesfileName {
			continue
		}
		// As text, since comments are what people read.
		if file.Data, err = replaceOnce(file.Data, `  digest: ""`, `  digest: "`+r.Digest+`"`); err != nil {
			return nil, err
		}
		if file.Data, err = replaceOnce(file.Data, "  repository: docker.io/library/tracer", "  repository: "+r.Repository); err != nil {
			return nil, err
		}
		if c.Values, err = loader.LoadValues(bytes.NewReader(file.Data)); err != nil {
			return nil, fmt.Errorf("read the chart's values: %w", err)
		}
	}
	return c, nil
}

func replaceOnce(text []byte, from, to string) ([]byte, error) {
	if n := bytes.Count(text, []byte(from+"\n")); n != 1 {
		return nil, fmt.Errorf("the chart's values.yaml has %q %d times, not once", from, n)
	}
	return bytes.Replace(text, []byte(from+"\n"), []byte(to+"\n"), 1), nil
}

// Save writes the package into a directory and returns its path.
func Save(c *chart.Chart, dir string) (string, error) {
	path, err := chartutil.Save(c, dir)
	if err != nil {
		return "", fmt.Errorf("write the chart: %w", err)
	}
	return path, nil
}

// Manifest is what helm template makes of the chart for an installation named tracer in the namespace tracer.
func Manifest(c *chart.Chart, values map[string]any) (string, error) {
	files, err := Render(c, values)
	if err != nil {
		return "", err
	}
	objects := map[string]string{}
	for name, text := range files {
		if path.Base(name) != "NOTES.txt" {
			objects[name] = text
		}
	}
	_, manifests, err := releaseutil.SortManifests(objects, nil, releaseutil.InstallOrder)
	if err != nil {
		return "", fmt.Errorf("sort the chart's objects: %w", err)
	}
	var out strings.Builder
	for _, m := range manifests {
		fmt.Fprintf(&out, "---\n# Source: %s\n%s\n", m.Name, m.Content)
	}
	return strings.TrimSpace(out.String()) + "\n", nil
}

// Render fills in the chart's templates, by their paths. Values are refused that the schema refuses.
func Render(c *chart.Chart, values map[string]any) (map[string]string, error) {
	all, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: "tracer", Namespace: "tracer", Revision: 1, IsInstall: true}, nil)
	if err != nil {
		return nil, fmt.Errorf("read the chart's values: %w", err)
	}
	files, err := engine.Render(c, all)
	if err != nil {
		return nil, fmt.Errorf("render the chart: %w", err)
	}
	return files, nil
}
