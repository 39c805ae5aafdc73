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
	name    string
	suites  []string // of Debian
	pattern string   // of the image package's name
	// cpuLater is for those that hang at boot under virtual time while they bring up a second CPU: init does it then.
	cpuLater bool
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
		if len(fields) != 4 || fields[3] != atBoot && fields[3] != byInit {
			return nil, fmt.Errorf("kernels.txt:%d: want name, suites, package, and %s or %s", n+1, atBoot, byInit)
		}
		if _, err := path.Match(fields[2], ""); err != nil {
			return nil, fmt.Errorf("kernels.txt:%d: package %q: %w", n+1, fields[2], err)
		}
		kernels = append(kernels, kernel{name: fields[0], suites: strings.Split(fields[1], ","), pattern: fields[2], cpuLater: fields[3] == byInit})
	}
	return kernels, nil
}

// findKernels are those with these names, separated by commas; "all" are all.
func findKernels(names string) ([]kernel, error) {
	kernels, err := parseKernels(kernelTable)
	if err != nil || names == "all" {
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
			return nil, fmt.Errorf("no kernel %q: choose all, or some of %s", name, strings.Join(known, ", "))
		}
		found = append(found, kernels[i])
	}
	return found, nil
}
