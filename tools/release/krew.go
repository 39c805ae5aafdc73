package main

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// krewManifest is what krew reads of a plugin of kubectl.
type krewManifest struct {
	APIVersion string       `yaml:"apiVersion"`
	Kind       string       `yaml:"kind"`
	Metadata   krewMetadata `yaml:"metadata"`
	Spec       krewSpec     `yaml:"spec"`
}

type krewMetadata struct {
	Name string `yaml:"name"`
}

type krewSpec struct {
	Version          string         `yaml:"version"`
	Homepage         string         `yaml:"homepage"`
	ShortDescription string         `yaml:"shortDescription"`
	Description      string         `yaml:"description"`
	Caveats          string         `yaml:"caveats"`
	Platforms        []krewPlatform `yaml:"platforms"`
}

type krewPlatform struct {
	Selector krewSelector `yaml:"selector"`
	URI      string       `yaml:"uri"`
	SHA256   string       `yaml:"sha256"`
	Bin      string       `yaml:"bin"`
}

type krewSelector struct {
	MatchLabels map[string]string `yaml:"matchLabels"`
}

// writeKrewManifest writes the manifest by which krew installs the plugin on each platform: from where the release's files are
// downloaded, or from an archive that is there (krew install --manifest=… --archive=…).
func writeKrewManifest(r *release, binaries []binary) error {
	manifest := krewManifest{
		APIVersion: "krew.googlecontainertools.github.com/v1alpha2", Kind: "Plugin",
		Metadata: krewMetadata{strings.TrimPrefix(plugin, "kubectl-")},
		Spec: krewSpec{
			Version: r.version, Homepage: r.home,
			ShortDescription: "Find the device that delays or drops pods' packets",
			Description: "Asks the tracer agents on a cluster's nodes, and says in one answer which device\n" +
				"on the way between pods delays packets or drops them, and why.\n",
			Caveats: "The agents must run in the cluster (helm install tracer …), and you need the right\nto exec into their pods.\n",
		},
	}
	for _, b := range binaries {
		if b.name != plugin {
			continue
		}
		archive := b.archiveName(r.number())
		data, err := os.ReadFile(filepath.Join(r.output, archive))
		if err != nil {
			return err
		}
		digest := sha256.Sum256(data)
		manifest.Spec.Platforms = append(manifest.Spec.Platforms, krewPlatform{
			Selector: krewSelector{map[string]string{"os": b.os, "arch": b.arch}},
			URI:      r.downloads + "/" + archive, SHA256: hex.EncodeToString(digest[:]), Bin: b.file.Name,
		})
	}
	var text strings.Builder
	encoder := yaml.NewEncoder(&text)
	encoder.SetIndent(2)
	if err := encoder.Encode(manifest); err != nil {
		return err
	}
	return os.WriteFile(r.file("krew.yaml"), []byte(text.String()), 0o644)
}
