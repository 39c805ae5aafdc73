package main

import (
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.yaml.in/yaml/v3"

	"tracer/tools/chart"
)

// writeChart writes the chart's package, and the manifest that is the chart with its defaults.
func writeChart(r *release, source checkout, image v1.Hash) error {
	images, err := yaml.Marshal([]map[string]any{{
		"name": "tracer", "image": r.imageName() + ":" + r.version + "@" + image.String(), "platforms": imagePlatforms(),
	}})
	if err != nil {
		return err
	}
	annotations := map[string]string{"artifacthub.io/images": string(images)}
	if strings.Contains(r.number(), "-") {
		annotations["artifacthub.io/prerelease"] = "true"
	}
	c, err := chart.Load(source.path("deploy/helm/tracer"), chart.Release{
		Version: r.version, Time: source.time, Repository: r.imageName(), Digest: image.String(), Annotations: annotations,
	})
	if err != nil {
		return err
	}
	if _, err := chart.Save(c, r.output); err != nil {
		return err
	}
	manifest, err := chart.Manifest(c, nil)
	if err != nil {
		return err
	}
	return os.WriteFile(r.file("manifest.yaml"), []byte(manifest), 0o644)
}
