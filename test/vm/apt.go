package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

// keyring holds the keys of all Debian suites, those that follow this machine's too.
const keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"

// apt is this machine's apt with its own mirrors, proxies and trust, but other suites, and a state of its own: what
// the machine has installed neither matters nor changes. It checks the suites' signatures and the packages' hashes.
type apt struct {
	dir     string // of its state, and where it puts packages
	options []string
}

// newApt prepares an apt for packages of an architecture from suites, and fetches their indexes.
func newApt(ctx context.Context, dir, arch string, suites []string) (*apt, error) {
	a := emptyApt(dir, arch)
	targets, err := output(ctx, dir, "apt-get", "indextargets", "Created-By: Packages", "--format", "$(RELEASE) $(REPO_URI)")
	if err != nil {
		return nil, fmt.Errorf("ask apt for its mirrors: %w", err)
	}
	sources, err := sourcesList(targets, arch, suites)
	if err != nil {
		return nil, err
	}
	if err := a.update(ctx, sources); err != nil {
		return nil, fmt.Errorf("fetch the package indexes of %s (does `apt-get update` work here?): %w", strings.Join(suites, " and "), err)
	}
	return a, nil
}

// emptyApt is one that knows no mirror, and keeps all that it has in a directory.
func emptyApt(dir, arch string) *apt {
	a := &apt{dir: dir}
	for key, value := range map[string]string{
		"Dir::State":              filepath.Join(dir, "state"),
		"Dir::State::status":      "/dev/null",
		"Dir::Cache":              filepath.Join(dir, "cache"),
		"Dir::Etc::sourcelist":    a.sources(),
		"Dir::Etc::sourceparts":   "-",
		"APT::Architecture":       arch,
		"APT::Architectures":      arch,
		"APT::Sandbox::User":      "root", // the directory is the caller's
		"APT::Update::Error-Mode": "any",
		"Acquire::Languages":      "none",
		"Acquire::Retries":        "3",
	} {
		a.options = append(a.options, "-o", key+"="+value)
	}
	return a
}

func (a *apt) sources() string { return filepath.Join(a.dir, "sources.list") }

// update fetches the indexes of sources, the lines of a sources.list.
func (a *apt) update(ctx context.Context, sources string) error {
	for _, d := range []string{"state/lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(a.dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(a.sources(), []byte(sources), 0o644); err != nil {
		return err
	}
	_, err := output(ctx, a.dir, "apt-get", append(a.options, "-q", "update")...)
	return err
}

// debianSuite matches the names of Debian's releases that a machine's sources may have, and the part behind them.
var debianSuite = regexp.MustCompile(
	`^(?:buster|bullseye|bookworm|trixie|forky|duke|sid|oldoldstable|oldstable|stable|testing|unstable)(|-updates|-backports|-security)$`)

// sourcesList writes the lines of a sources.list for other suites on the mirrors that this machine has. targets has
// a line for each of apt's indexes, with suite and address.
func sourcesList(targets, arch string, suites []string) (string, error) {
	var archive, security string
	for line := range strings.Lines(targets) {
		suite, uri, ok := strings.Cut(strings.TrimSpace(line), " ")
		m := debianSuite.FindStringSubmatch(suite)
		switch {
		case !ok || m == nil:
		case m[1] == "-security" && security == "":
			security = uri
		case m[1] != "-security" && archive == "":
			archive = uri
		}
	}
	var list strings.Builder
	for _, suite := range suites {
		uri := archive
		if strings.HasSuffix(suite, "-security") {
			uri = security
		}
		if uri != "" {
			fmt.Fprintf(&list, "deb [arch=%s target=Packages signed-by=%s] %s %s main\n", arch, keyring, uri, suite)
		}
	}
	if list.Len() == 0 {
		return "", fmt.Errorf("apt has no Debian mirror for %s, which the guests' kernels come from: run this on Debian", strings.Join(suites, " or "))
	}
	return list.String(), nil
}

// newest is the package of the highest version among those whose names match a pattern. In names of kernel packages
// the version is all that differs.
func (a *apt) newest(ctx context.Context, pattern string) (string, error) {
	prefix := pattern[:strings.IndexAny(pattern+"*", `*?[\`)]
	names, err := a.cache(ctx, "pkgnames", prefix)
	if err != nil {
		return "", err
	}
	best := ""
	for _, name := range names {
		if ok, _ := path.Match(pattern, name); !ok {
			continue
		}
		if best != "" {
			less, err := versionLess(ctx, strings.TrimPrefix(name, prefix), strings.TrimPrefix(best, prefix))
			if err != nil {
				return "", err
			}
			if less {
				continue
			}
		}
		best = name
	}
	if best == "" {
		return "", fmt.Errorf("no package %s on the mirror: change test/vm/kernels.txt", pattern)
	}
	return best, nil
}

// versionLess compares in Debian's order, in which versions begin with a digit.
func versionLess(ctx context.Context, a, b string) (bool, error) {
	err := exec.CommandContext(ctx, "dpkg", "--compare-versions", "0"+a, "lt", "0"+b).Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("compare versions %s and %s: %w", a, b, err)
	}
	return true, nil
}

// parts are a package and those that it depends on whose names end in suffix: newer kernels are split over several.
func (a *apt) parts(ctx context.Context, name, suffix string) ([]string, error) {
	parts := []string{name}
	for i := 0; i < len(parts); i++ {
		lines, err := a.cache(ctx, "depends", "--important", parts[i])
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			_, name, ok := strings.Cut(line, "Depends: ")
			if ok && strings.HasSuffix(name, suffix) && !slices.Contains(parts, name) {
				parts = append(parts, name)
			}
		}
	}
	return parts, nil
}

// unpack fetches packages and unpacks them below root.
func (a *apt) unpack(ctx context.Context, names []string, root string) error {
	return a.fetch(ctx, "download", names, root)
}

// unpackAll does so with all that they depend on.
func (a *apt) unpackAll(ctx context.Context, names []string, root string) error {
	return a.fetch(ctx, "install", names, root)
}

// fetch unpacks what a command of apt-get would fetch.
func (a *apt) fetch(ctx context.Context, command string, names []string, root string) error {
	args := slices.Concat([]string{a.dir}, a.options, []string{command}, names)
	files, err := output(ctx, "", "hack/fetch-packages", args...)
	if err != nil {
		return fmt.Errorf("fetch %s: %w", strings.Join(names, ", "), err)
	}
	for file := range strings.FieldsSeq(files) {
		if _, err := output(ctx, a.dir, "dpkg-deb", "--extract", file, root); err != nil {
			return fmt.Errorf("unpack %s: %w", file, err)
		}
	}
	return nil
}

func (a *apt) cache(ctx context.Context, args ...string) ([]string, error) {
	out, err := output(ctx, a.dir, "apt-cache", append(slices.Clone(a.options), args...)...)
	if err != nil {
		return nil, fmt.Errorf("ask apt-cache for %s: %w", strings.Join(args, " "), err)
	}
	return strings.Split(strings.TrimSpace(out), "\n"), nil
}

// output is what a command prints; what it complains about becomes part of the error.
func output(ctx context.Context, dir, name string, args ...string) (string, error) {
	var complaint bytes.Buffer
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Stderr = dir, &complaint
	// With all that it has started, as the next run goes on with its files. apt gives half a file the date by which it goes on when it is
	// asked to end, not when it is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	out, err := cmd.Output()
	if errors.Is(err, exec.ErrNotFound) {
		return "", fmt.Errorf("%w: run hack/install-packages guest", err)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", name, err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}
