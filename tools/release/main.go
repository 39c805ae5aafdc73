// Command release makes everything that a release has, in one directory: archives with the programs, the image for all
// architectures, the chart with the image's digest in it, the manifest for who has no helm, that by which krew installs the
// plugin, notes, SBOMs, provenance, and the SHA-256 sums of all of it, signed if there is a key.
//
//	release -version v0.1.0 [-registry REGISTRY] [-downloads URL] [-key FILE] [-output DIR]
//
// Two runs at one commit write the same bytes. The commit and its time come from git, or elsewhere from -commit and
// SOURCE_DATE_EPOCH. The key is minisign's; its password is read from MINISIGN_PASSWORD.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"

	"aead.dev/minisign"
	"golang.org/x/mod/semver"

	"tracer/tools/chart"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var r release
	flag.StringVar(&r.version, "version", "", "version of the release, such as v0.1.0")
	flag.StringVar(&r.registry, "registry", "docker.io/library", "registry, with a path if there is one, that the image is for")
	flag.StringVar(&r.downloads, "downloads", "", "URL of the directory from which the release's files will be downloaded")
	platforms := flag.String("platforms", "", "of the programs' platforms, only these: linux/amd64,linux/arm64")
	flag.StringVar(&r.key, "key", "", "minisign's secret key")
	flag.StringVar(&r.commit, "commit", "", "commit of the source, where there is no git to ask")
	flag.StringVar(&r.builder, "builder", "urn:tracer:make-release", "URI of what builds, for the provenance")
	flag.StringVar(&r.source, "source", "..", "the checkout")
	flag.StringVar(&r.output, "output", "../build/release", "directory to write; the release that is in it is removed")
	flag.Parse()
	r.platforms = strings.FieldsFunc(*platforms, func(c rune) bool { return c == ',' || c == ' ' })
	if err := r.make(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// release is what is made, and from what.
type release struct {
	version   string // with the v
	registry  string
	downloads string
	home      string   // where the project is at home, as the chart says
	platforms []string // of the programs'; all of them if there are none
	key       string
	commit    string
	builder   string
	source    string
	output    string
}

// number is the version without the v, as charts and names of files have it.
func (r *release) number() string { return strings.TrimPrefix(r.version, "v") }

// file is the path of one of the release's files, which all begin alike.
func (r *release) file(rest string) string {
	return filepath.Join(r.output, "tracer_"+r.number()+"_"+rest)
}

func (r *release) make(ctx context.Context) error {
	if !semver.IsValid(r.version) || semver.Canonical(r.version) != r.version {
		return fmt.Errorf("version %q is not like v0.1.0 or v0.1.0-rc.1", r.version)
	}
	checkout, err := openCheckout(ctx, r.source, r.commit)
	if err != nil {
		return err
	}
	r.commit = checkout.commit
	var key minisign.PrivateKey
	if r.key != "" {
		if key, err = openKey(r.key, os.Getenv("MINISIGN_PASSWORD")); err != nil {
			return err
		}
	}
	if r.home, err = chart.Home(checkout.path(chartDir)); err != nil {
		return err
	}
	if r.downloads == "" {
		r.downloads = r.home + "/releases/download/" + r.version
	}
	if err := makeEmpty(r.output); err != nil {
		return err
	}
	if err := r.write(ctx, checkout, key); err != nil {
		// What is begun would not be taken for a release, and be in the way of the next.
		return errors.Join(err, os.RemoveAll(r.output))
	}
	return nil
}

// makeEmpty makes an empty directory. What is there is removed only if it is a release.
func makeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	isSums := func(e fs.DirEntry) bool {
		ok, err := filepath.Match("tracer_*_checksums.txt", e.Name())
		return err == nil && ok
	}
	if len(entries) > 0 && !slices.ContainsFunc(entries, isSums) {
		return fmt.Errorf("%s has files, and is no release that could be removed (there is no tracer_*_checksums.txt): give another directory, RELEASE=…, or empty it", dir)
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.MkdirAll(dir, 0o755)
}

// write writes all files into the directory.
func (r *release) write(ctx context.Context, checkout checkout, key minisign.PrivateKey) error {
	binaries, err := buildAll(ctx, r, checkout)
	if err != nil {
		return err
	}
	if err := writeArchives(r, checkout, binaries); err != nil {
		return err
	}
	image, err := writeImage(r, checkout, binaries)
	if err != nil {
		return err
	}
	if err := writeSBOMs(r, checkout, binaries, image); err != nil {
		return err
	}
	if err := writeChart(r, checkout, binaries, image); err != nil {
		return err
	}
	if err := writeKrewManifest(r, binaries); err != nil {
		return err
	}
	if err := writeNotes(r); err != nil {
		return err
	}
	if err := writeProvenance(r, checkout, image); err != nil {
		return err
	}
	if err := writeChecksums(r); err != nil {
		return err
	}
	if len(r.platforms) > 0 {
		fmt.Printf("not for all platforms: only for %s\n", strings.Join(r.platforms, ", "))
	}
	fmt.Printf("%s: tracer %s of commit %s, image %s\n", r.output, r.version, r.commit, image)
	if r.key == "" {
		fmt.Println("not signed: there is no key (KEY=minisign.key)")
		return nil
	}
	return sign(r, key)
}

// errDirty is for a checkout that is not what its commit says.
var errDirty = errors.New("the checkout has what its commit has not")
