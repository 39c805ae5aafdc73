package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"aead.dev/minisign"
	intoto "github.com/in-toto/attestation/go/v1"
	spdxjson "github.com/spdx/tools-golang/json"
	"google.golang.org/protobuf/encoding/protojson"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
)

// TestRelease makes a small program's release twice, from checkouts in two folders, and reads what it has.
func TestRelease(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	public, key := newKey(t)
	first := madeRelease(t, t.TempDir(), key)
	t.Setenv("GOFLAGS", "-tags=other")
	t.Setenv("GOAMD64", "v3")
	second := madeRelease(t, filepath.Join(t.TempDir(), "elsewhere"), key)

	files := contents(t, first.output)
	for name, data := range contents(t, second.output) {
		if !bytes.Equal(files[name], data) {
			t.Errorf("%s differs", name)
		}
	}
	want := []string{
		"tracer-0.1.0.tgz", "tracer_0.1.0_checksums.txt", "tracer_0.1.0_checksums.txt.minisig", "tracer_0.1.0_image.spdx.json",
		"tracer_0.1.0_image.tar", "tracer_0.1.0_linux_amd64.spdx.json", "tracer_0.1.0_linux_amd64.tar.gz",
		"tracer_0.1.0_linux_arm64.spdx.json", "tracer_0.1.0_linux_arm64.tar.gz", "tracer_0.1.0_manifest.yaml", "tracer_0.1.0_notes.md",
		"tracer_0.1.0_provenance.intoto.json", "tracer_0.1.0_krew.yaml",
	}
	for _, platform := range commands()[1].platforms {
		name := "kubectl-tracer_0.1.0_" + strings.ReplaceAll(platform, "/", "_")
		archive := name + ".tar.gz"
		if strings.HasPrefix(platform, "windows/") {
			archive = name + ".zip"
		}
		want = append(want, archive, name+".spdx.json")
	}
	for _, name := range want {
		if files[name] == nil {
			t.Errorf("there is no %s", name)
		}
	}
	if len(files) != len(want) {
		t.Errorf("%d files, want %d", len(files), len(want))
	}

	sums := files["tracer_0.1.0_checksums.txt"]
	hashed := minisign.NewReader(bytes.NewReader(sums))
	if _, err := io.Copy(io.Discard, hashed); err != nil {
		t.Fatal(err)
	}
	if !hashed.Verify(public, files["tracer_0.1.0_checksums.txt.minisig"]) {
		t.Error("the signature is not that of the sums")
	}
	check := exec.Command("sha256sum", "--strict", "-c", "tracer_0.1.0_checksums.txt")
	check.Dir = first.output
	if out, err := check.CombinedOutput(); err != nil || bytes.Count(out, []byte(": OK")) != len(want)-2 {
		t.Errorf("sha256sum: %v\n%s", err, out)
	}
	if notes := string(files["tracer_0.1.0_notes.md"]); notes != "### Added\n\n- All of it.\n" {
		t.Errorf("the notes are %q", notes)
	}

	// One digest of the image: in the chart, in the manifest, in the SBOM and in the provenance.
	var statement intoto.Statement
	if err := protojson.Unmarshal(files["tracer_0.1.0_provenance.intoto.json"], &statement); err != nil {
		t.Fatal(err)
	}
	if err := statement.Validate(); err != nil {
		t.Error(err)
	}
	digest := "sha256:" + statement.GetSubject()[0].GetDigest()["sha256"]
	if n := len(statement.GetSubject()); n != len(want)-2 { // with the image; without the sums, their signature and itself
		t.Errorf("the provenance has %d subjects", n)
	}
	chart, err := loader.LoadArchive(bytes.NewReader(files["tracer-0.1.0.tgz"]))
	if err != nil {
		t.Fatal(err)
	}
	image := chart.Values["image"].(map[string]any)
	if chart.Metadata.Version != "0.1.0" || chart.Metadata.AppVersion != "v0.1.0" || image["digest"] != digest || image["repository"] != "registry.example/team/tracer" {
		t.Errorf("the chart is %+v with the image %v, not %s", chart.Metadata, image, digest)
	}
	reference := "registry.example/team/tracer:v0.1.0@" + digest
	if !strings.Contains(string(files["tracer_0.1.0_manifest.yaml"]), `image: "`+reference+`"`) {
		t.Errorf("the manifest has not the image %s", reference)
	}
	annotations := chart.Metadata.Annotations
	if !strings.Contains(annotations["artifacthub.io/images"], reference) || !strings.Contains(annotations["artifacthub.io/changes"], "description: All of it.") ||
		!strings.Contains(annotations["artifacthub.io/links"], "url: https://tracer.example") {
		t.Errorf("the chart is annotated with %v", annotations)
	}
	sboms := 0
	for name, text := range files {
		if !strings.HasSuffix(name, ".spdx.json") {
			continue
		}
		sboms++
		doc, err := spdxjson.Read(bytes.NewReader(text))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if doc.CreationInfo.Created != "2026-09-21T14:13:20Z" {
			t.Errorf("%s: created %s", name, doc.CreationInfo.Created)
		}
		if name == "tracer_0.1.0_image.spdx.json" && (len(doc.Packages) != 4 || "sha256:"+doc.Packages[0].PackageChecksums[0].Value != digest) {
			t.Errorf("the image's SBOM has %d packages: not the image, two programs and Go's library", len(doc.Packages))
		}
	}

	if sboms != 1+2+6 {
		t.Errorf("there are %d SBOMs", sboms)
	}

	checkKrew(t, files)

	// The plugin knows the image of its release, which it starts.
	name := "kubectl-tracer_0.1.0_" + runtime.GOOS + "_" + runtime.GOARCH + ".tar.gz"
	if out, err := exec.Command(unpacked(t, filepath.Join(first.output, name), "kubectl-tracer")).CombinedOutput(); err != nil || !strings.HasPrefix(reference, string(out)+"@") {
		t.Errorf("the plugin starts %s, not %s: %v", out, reference, err)
	}

	// What was built knows its version and commit, and no name of a folder.
	data, err := os.ReadFile(unpacked(t, first.file("linux_amd64.tar.gz"), "tracer"))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("v0.1.0")) || !bytes.Contains(data, []byte(first.commit)) || bytes.Contains(data, []byte(first.source)) {
		t.Error("the binary has not its version and commit, or has the folder it was built in")
	}
}

// TestPlatforms: a release for some platforms has no others, and none without the image is made.
func TestPlatforms(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	r := smallSource(t, t.TempDir(), "")
	r.platforms = []string{"linux/amd64"}
	if err := r.make(t.Context()); err != nil {
		t.Fatal(err)
	}
	archives, err := filepath.Glob(filepath.Join(r.output, "*_*_*_*.*"))
	if err != nil || len(archives) != 4 { // two programs, and the SBOM of each
		t.Errorf("there are %q: %v", archives, err)
	}
	if text, err := os.ReadFile(r.file("provenance.intoto.json")); err != nil || !strings.Contains(string(text), `"PLATFORMS": "linux/amd64"`) {
		t.Errorf("the provenance has not the platforms: %v\n%s", err, text)
	}
	r.platforms = []string{"darwin/arm64"}
	if err := r.make(t.Context()); err == nil || !strings.Contains(err.Error(), "the image would be empty") {
		t.Errorf("a release without an image: %v", err)
	}
	if _, err := os.Stat(r.output); err == nil {
		t.Error("what was begun is left, and in the way of the next")
	}
}

func TestRefusals(t *testing.T) {
	for _, version := range []string{"", "0.1.0", "v0.1", "v0.1.0+dirty", "latest"} {
		r := release{version: version, commit: "c", output: t.TempDir()}
		if err := r.make(t.Context()); err == nil || !strings.Contains(err.Error(), "is not like v0.1.0") {
			t.Errorf("version %q: %v", version, err)
		}
	}
	t.Setenv("SOURCE_DATE_EPOCH", "")
	if _, err := openCheckout(t.Context(), t.TempDir(), ""); err == nil || !strings.Contains(err.Error(), "COMMIT=") {
		t.Errorf("no git: %v", err)
	}
	if _, err := openCheckout(t.Context(), t.TempDir(), "abc"); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("no time: %v", err)
	}

	dir := t.TempDir()
	for _, args := range [][]string{
		{"init", "-q"}, {"-c", "user.name=n", "-c", "user.email=e@example", "-c", "commit.gpgsign=false", "commit", "-q", "--allow-empty", "-m", "first", "--date=@1790000000"},
	} {
		if _, err := git(t.Context(), dir, args...); err != nil {
			t.Fatal(err)
		}
	}
	if c, err := openCheckout(t.Context(), dir, ""); err != nil || len(c.commit) != 40 {
		t.Errorf("a clean checkout is %+v: %v", c, err)
	}
	exclude := write(t, dir, ".git/info/exclude", "*.go\n")
	write(t, dir, "build/mine.go", "")
	if _, err := openCheckout(t.Context(), dir, ""); err != nil {
		t.Errorf("ignored, and not released: %v", err)
	}
	mine := write(t, dir, "internal/mine/mine.go", "")
	if _, err := openCheckout(t.Context(), dir, ""); err == nil || !strings.Contains(err.Error(), "!! internal/") {
		t.Errorf("ignored, and released: %v", err)
	}
	if err := errors.Join(os.Remove(mine), os.Remove(exclude), os.RemoveAll(filepath.Join(dir, "build"))); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "new", "")
	if _, err := openCheckout(t.Context(), dir, ""); err == nil || !strings.Contains(err.Error(), "?? new") {
		t.Errorf("not committed: %v", err)
	}
}

// TestOutput: no directory is removed but that of a release.
func TestOutput(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	r := smallSource(t, t.TempDir(), "")
	mine := write(t, r.output, "mine", "text")
	if err := r.make(t.Context()); err == nil || !strings.Contains(err.Error(), "RELEASE=") {
		t.Errorf("what is there: %v", err)
	}
	if text, err := os.ReadFile(mine); err != nil || string(text) != "text" {
		t.Errorf("it is %q now: %v", text, err)
	}
	r.output = filepath.Join(r.source, "CHANGELOG.md")
	if err := r.make(t.Context()); err == nil {
		t.Error("a file is taken for a directory")
	}
}

// TestKeys: a key that does not open is said to, before anything is made.
func TestKeys(t *testing.T) {
	_, key, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	encrypted, err := minisign.EncryptKey("secret", key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	r := release{version: "v0.1.0", output: dir, key: write(t, dir, "key", string(encrypted))}
	write(t, dir, "tracer_0.1.0_checksums.txt", "sums")
	if _, err := openKey(r.key, "wrong"); err == nil || !strings.Contains(err.Error(), "MINISIGN_PASSWORD") {
		t.Errorf("a wrong password: %v", err)
	}
	if opened, err := openKey(r.key, "secret"); err != nil || !opened.Equal(key) {
		t.Errorf("the password: %v", err)
	}
	if err := sign(&r, key); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(r.file("checksums.txt.minisig")); err != nil {
		t.Error(err)
	}

	// It is opened before what was there is removed.
	t.Setenv("SOURCE_DATE_EPOCH", "1790000000")
	t.Setenv("MINISIGN_PASSWORD", "wrong")
	small := smallSource(t, t.TempDir(), r.key)
	before := write(t, small.output, "tracer_0.0.1_checksums.txt", "")
	if err := small.make(t.Context()); err == nil || !strings.Contains(err.Error(), "MINISIGN_PASSWORD") {
		t.Errorf("with a wrong password it is made: %v", err)
	}
	if _, err := os.Stat(before); err != nil {
		t.Errorf("the release before is gone: %v", err)
	}
}

// unpacked is a file of an archive.
func unpacked(t *testing.T, archive, name string) string {
	t.Helper()
	dir := t.TempDir()
	if out, err := exec.Command("tar", "-xzf", archive, "-C", dir, name).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return filepath.Join(dir, name)
}

// madeRelease makes the release of programs that are small.
func madeRelease(t *testing.T, dir, key string) *release {
	t.Helper()
	r := smallSource(t, dir, key)
	write(t, r.output, "left from before", "")
	write(t, r.output, "tracer_0.0.1_checksums.txt", "")
	if err := r.make(context.Background()); err != nil {
		t.Fatal(err)
	}
	return r
}

// smallSource is a checkout with such programs.
func smallSource(t *testing.T, dir, key string) *release {
	t.Helper()
	for name, text := range map[string]string{
		"cmd/kubectl-tracer/main.go": "package main\n\nvar version, repository string\n\nfunc main() { print(repository, \":\", version) }\n",
		"go.mod":                     "module tracer\n\ngo 1.26.0\n",
		"cmd/tracer/main.go":         "package main\n\nvar version, commit string\n\nfunc main() { println(version, commit) }\n",
		"LICENSE":                    "one",
		"bpf/LICENSE.GPL-2.0":        "the other",
		"CHANGELOG.md":               "## [0.1.0] - 2026-12-01\n\n### Added\n\n- All of it.\n",
	} {
		write(t, dir, name, text)
	}
	if err := os.CopyFS(filepath.Join(dir, "deploy"), os.DirFS("../../deploy")); err != nil {
		t.Fatal(err)
	}
	return &release{
		version: "v0.1.0", registry: "registry.example/team", key: key, commit: strings.Repeat("c0", 20), builder: "urn:test",
		source: dir, output: filepath.Join(dir, "out"),
	}
}

func newKey(t *testing.T) (minisign.PublicKey, string) {
	t.Helper()
	public, private, err := minisign.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := private.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	return public, write(t, t.TempDir(), "minisign.key", string(text))
}

func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func contents(t *testing.T, dir string) map[string][]byte {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string][]byte{}
	for _, entry := range entries {
		data, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(entry.Name(), ".json") && !json.Valid(data) {
			t.Errorf("%s is not JSON", entry.Name())
		}
		files[entry.Name()] = data
	}
	return files
}
