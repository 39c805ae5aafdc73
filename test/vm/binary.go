package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"
)

// binary is the compiled test of a package.
type binary struct {
	file     string // on this machine
	pkg      string // import path
	dir      string // of the sources, on this machine
	guestDir string // where it runs, as tests run in their package's directory
}

// buildTests compiles the tests of packages for an architecture, static, into a directory. Packages without tests are left out.
func buildTests(ctx context.Context, to, arch string, patterns []string) ([]binary, error) {
	list, err := goTool(ctx, arch, append([]string{"list", "-json=ImportPath,Dir,TestGoFiles,XTestGoFiles,Module"}, patterns...)...)
	if err != nil {
		return nil, fmt.Errorf("list packages: %w", err)
	}
	var tests []binary
	for decoder := json.NewDecoder(strings.NewReader(list)); ; {
		var p struct {
			ImportPath, Dir           string
			TestGoFiles, XTestGoFiles []string
			Module                    struct{ Dir string }
		}
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("list packages: %w", err)
		}
		if len(p.TestGoFiles)+len(p.XTestGoFiles) == 0 {
			continue
		}
		relative, err := filepath.Rel(p.Module.Dir, p.Dir)
		if err != nil {
			return nil, err
		}
		tests = append(tests, binary{
			file: filepath.Join(to, strings.ReplaceAll(relative, "/", "-")+".test"),
			pkg:  p.ImportPath, dir: p.Dir, guestDir: path.Join("/src", relative),
		})
	}
	if len(tests) == 0 {
		return nil, fmt.Errorf("no tests in %s", strings.Join(patterns, " "))
	}
	for _, b := range tests {
		if _, err := goTool(ctx, arch, "test", "-c", "-trimpath", "-ldflags=-s -w", "-o", b.file, b.pkg); err != nil {
			return nil, fmt.Errorf("compile the tests of %s: %w", b.pkg, err)
		}
	}
	return tests, nil
}

// buildProgram compiles a command for an architecture, static.
func buildProgram(ctx context.Context, to, arch, pkg string) (string, error) {
	file := filepath.Join(to, path.Base(pkg))
	if _, err := goTool(ctx, arch, "build", "-trimpath", "-ldflags=-s -w", "-o", file, pkg); err != nil {
		return "", fmt.Errorf("build %s: %w", pkg, err)
	}
	return file, nil
}

func goTool(ctx context.Context, arch string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch)
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}

// add puts the test and its data into the guest.
func (b binary) add(a *archive) error {
	if err := a.file(path.Join(b.guestDir, path.Base(b.file)), b.file); err != nil {
		return err
	}
	testdata := filepath.Join(b.dir, "testdata")
	if _, err := os.Stat(testdata); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return a.tree(path.Join(b.guestDir, "testdata"), testdata)
}

// testJob is the script that runs tests one package after the other. Its exit status is the highest of theirs: 1 if a test failed,
// more if one ended its package before the others had run.
func testJob(tests []binary, run, skip string, count int, timeout time.Duration) string {
	var commands []string
	for _, b := range tests {
		commands = append(commands, b.command(run, skip, count, timeout))
	}
	return "export CI=true\nstatus=0\n" + strings.Join(commands, "") + "exit $status\n"
}

// command runs the package's tests in the guest, behind a line that says so.
func (b binary) command(run, skip string, count int, timeout time.Duration) string {
	// -test.v=test2json marks the lines about tests, so that they cannot be mistaken for what tests print.
	return fmt.Sprintf("printf '\\026guest: package %%s\\n' %s\ncd %s && ./%s -test.v=test2json -test.count=%d -test.timeout=%v -test.run=%s -test.skip=%s || { s=$?; [ $s -le $status ] || status=$s; }\n",
		quote(b.pkg), quote(b.guestDir), quote(path.Base(b.file)), count, timeout, quote(run), quote(skip))
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }
