package main

import (
	"os"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"go.yaml.in/yaml/v3"

	"tracer/tools/chart"
)

const chartDir = "deploy/helm/tracer"

// writeChart writes the chart's package, and the manifest that is the chart with its defaults.
func writeChart(r *release, source checkout, binaries []binary, image v1.Hash) error {
	annotations, err := artifactHub(r, binaries, image)
	if err != nil {
		return err
	}
	c, err := chart.Load(source.path(chartDir), chart.Release{
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

// artifactHub is what Artifact Hub shows of a chart's version, beside what its source says: in YAML, as it wants it.
func artifactHub(r *release, binaries []binary, image v1.Hash) (map[string]string, error) {
	notes, err := releaseNotes(r)
	if err != nil {
		return nil, err
	}
	annotations := map[string]string{}
	for name, value := range map[string]any{
		"images": []map[string]any{{
			"name": program, "image": r.imageName() + ":" + r.version + "@" + image.String(), "platforms": imagePlatforms(binaries),
		}},
		"links":   []map[string]string{{"name": "source", "url": r.home}},
		"changes": changes(notes),
	} {
		text, err := yaml.Marshal(value)
		if err != nil {
			return nil, err
		}
		annotations["artifacthub.io/"+name] = string(text)
	}
	if strings.Contains(r.number(), "-") {
		annotations["artifacthub.io/prerelease"] = "true"
	}
	return annotations, nil
}
