package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/common"
	spdx "github.com/spdx/tools-golang/spdx/v2/v2_3"
	"golang.org/x/mod/module"
)

// licence is that of the program with the BPF objects in it, and of its image.
const licence = "Apache-2.0 AND (Apache-2.0 OR GPL-2.0-only)"

// writeSBOMs writes an SPDX document for each binary and one for the image, of what go says is linked into them.
func writeSBOMs(r *release, source checkout, binaries []binary, image v1.Hash) error {
	var shipped []binary
	for _, b := range binaries {
		doc := newSBOM(b.name+"-"+r.number()+"-"+b.platform(), hexSHA256(b.file.Data), source.time)
		doc.describe(doc.addBinary(b, r.version))
		if err := doc.write(filepath.Join(r.output, b.baseName(r.number())+".spdx.json")); err != nil {
			return err
		}
		if b.inImage() {
			shipped = append(shipped, b)
		}
	}
	doc := newSBOM("tracer-"+r.number()+"-image", image.Hex, source.time)
	root := doc.add(&spdx.Package{
		PackageName: r.imageName(), PackageVersion: r.version, PackageSPDXIdentifier: "Image", PrimaryPackagePurpose: "CONTAINER",
		PackageChecksums:       []common.Checksum{{Algorithm: common.SHA256, Value: image.Hex}},
		PackageLicenseDeclared: licence,
		PackageExternalReferences: purl("pkg:oci/tracer@" + url.QueryEscape(image.String()) +
			"?repository_url=" + url.QueryEscape(r.imageName()) + "&tag=" + url.QueryEscape(r.version)),
	})
	for _, b := range shipped {
		doc.relate(root, common.TypeRelationshipContains, doc.addBinary(b, r.version))
	}
	doc.describe(root)
	return doc.write(r.file("image.spdx.json"))
}

// sbom is a document that is being written.
type sbom struct {
	spdx.Document
	known map[common.ElementID]bool
}

// newSBOM begins a document. The digest of what it describes makes its namespace unique.
func newSBOM(name, digest string, created time.Time) *sbom {
	return &sbom{spdx.Document{
		SPDXVersion: spdx.Version, DataLicense: spdx.DataLicense, SPDXIdentifier: "DOCUMENT", DocumentName: name,
		DocumentNamespace: "https://spdx.org/spdxdocs/" + name + "-" + digest,
		CreationInfo: &spdx.CreationInfo{
			Creators: []common.Creator{{CreatorType: "Tool", Creator: "tracer-release"}},
			Created:  created.Format(time.RFC3339),
		},
	}, map[common.ElementID]bool{}}
}

// addBinary adds a program and all modules of which it has code.
func (d *sbom) addBinary(b binary, version string) common.ElementID {
	root := d.add(&spdx.Package{
		PackageName: b.name, PackageVersion: version, PackageSPDXIdentifier: elementID("Program", b.name, b.platform()),
		PackageFileName: b.file.Name, PrimaryPackagePurpose: "APPLICATION", PackageLicenseDeclared: b.licence,
		PackageChecksums: []common.Checksum{{Algorithm: common.SHA256, Value: hexSHA256(b.file.Data)}},
		PackageComment:   b.os + "/" + b.arch + ", built by " + b.info.GoVersion,
	})
	d.relate(root, common.TypeRelationshipDependsOn, d.addModule(&debug.Module{Path: "stdlib", Version: strings.TrimPrefix(b.info.GoVersion, "go")}))
	for _, m := range b.info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		d.relate(root, common.TypeRelationshipDependsOn, d.addModule(m))
	}
	return root
}

func (d *sbom) addModule(m *debug.Module) common.ElementID {
	p := &spdx.Package{
		PackageName: m.Path, PackageVersion: m.Version, PackageSPDXIdentifier: elementID("Module", m.Path, m.Version),
		PrimaryPackagePurpose: "LIBRARY", PackageExternalReferences: purl("pkg:golang/" + m.Path + "@" + url.QueryEscape(m.Version)),
	}
	if m.Sum != "" {
		p.PackageSourceInfo = "go.sum: " + m.Sum
	}
	// Only what is served as a module has such an address.
	escapedPath, pathErr := module.EscapePath(m.Path)
	escapedVersion, versionErr := module.EscapeVersion(m.Version)
	if pathErr == nil && versionErr == nil && m.Sum != "" {
		p.PackageDownloadLocation = "https://proxy.golang.org/" + escapedPath + "/@v/" + escapedVersion + ".zip"
	}
	return d.add(p)
}

// add adds a package, once.
func (d *sbom) add(p *spdx.Package) common.ElementID {
	id := p.PackageSPDXIdentifier
	if d.known[id] {
		return id
	}
	d.known[id] = true
	for _, text := range []*string{&p.PackageDownloadLocation, &p.PackageLicenseConcluded, &p.PackageLicenseDeclared, &p.PackageCopyrightText} {
		if *text == "" {
			*text = "NOASSERTION"
		}
	}
	d.Packages = append(d.Packages, p)
	return id
}

func (d *sbom) describe(id common.ElementID) {
	d.relate("DOCUMENT", common.TypeRelationshipDescribe, id)
}

func (d *sbom) relate(a common.ElementID, relationship string, b common.ElementID) {
	d.Relationships = append(d.Relationships, &spdx.Relationship{
		RefA: common.MakeDocElementID("", string(a)), RefB: common.MakeDocElementID("", string(b)), Relationship: relationship,
	})
}

func (d *sbom) write(path string) error {
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	defer out.Close()
	if err := json.Write(&d.Document, out, json.Indent(" ")); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return out.Close()
}

func purl(locator string) []*spdx.PackageExternalReference {
	return []*spdx.PackageExternalReference{{
		Category: common.CategoryPackageManager, RefType: common.TypePackageManagerPURL, Locator: locator,
	}}
}

// elementID is an identifier of SPDX, which has letters, digits, dots and dashes.
func elementID(parts ...string) common.ElementID {
	return common.ElementID(regexp.MustCompile(`[^A-Za-z0-9.]+`).ReplaceAllString(strings.Join(parts, "-"), "-"))
}

func hexSHA256(data []byte) string {
	digest := sha256.Sum256(data)
	return hex.EncodeToString(digest[:])
}
