package main

import (
	_ "embed"
	"fmt"
	"path"
	"slices"
	"strings"
)

//go:embed kernels.txt
var kernelTable string

// kernel is one that tests run on: a line of kernels.txt.
type kernel struct {
	arch    string // as Go and Debian name it
	name    string
	suites  []string // of Debian
	pattern string   // of the image package's name
	// cpuLater is for those that hang at boot under virtual time while they bring up a second CPU: init does it then.
	cpuLater bool
}

// id tells kernels apart in messages and in the cache.
func (k kernel) id() string {
	if k.arch == "amd64" {
		return k.name
	}
	return k.name + "-" + k.arch
}

// The words of the table's last column.
const (
	atBoot = "boot"
	byInit = "init"
)

func parseKernels(table string) ([]kernel, error) {
	var kernels []kernel
	for n, line := range strings.Split(table, "\n") {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) == 0 {
			continue
		}
		if len(fields) != 5 || fields[4] != atBoot && fields[4] != byInit {
			return nil, fmt.Errorf("kernels.txt:%d: want architecture, name, suites, package, and %s or %s", n+1, atBoot, byInit)
		}
		if _, err := path.Match(fields[3], ""); err != nil {
			return nil, fmt.Errorf("kernels.txt:%d: package %q: %w", n+1, fields[3], err)
		}
		kernels = append(kernels, kernel{
			arch: fields[0], name: fields[1], suites: strings.Split(fields[2], ","), pattern: fields[3], cpuLater: fields[4] == byInit,
		})
	}
	return kernels, nil
}

// findKernels are those of an architecture with these names, separated by commas; "all" are all.
func findKernels(arch, names string) ([]kernel, error) {
	kernels, err := parseKernels(kernelTable)
	kernels = slices.DeleteFunc(kernels, func(k kernel) bool { return k.arch != arch })
	if err != nil || names == "all" && len(kernels) > 0 {
		return kernels, err
	}
	var known []string
	for _, k := range kernels {
		known = append(known, k.name)
	}
	var found []kernel
	for name := range strings.SplitSeq(names, ",") {
		i := slices.Index(known, name)
		if i < 0 {
			return nil, fmt.Errorf("no kernel %q for %s: choose all, or some of %s", name, arch, strings.Join(known, ", "))
		}
		found = append(found, kernels[i])
	}
	return found, nil
}
